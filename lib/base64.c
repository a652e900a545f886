#include "config.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "lib/base64.h"

int
base64_decode(const char *text, void **ret, size_t *ret_len,
    struct imgd_error **err)
{
	size_t len = strlen(text), n_pad = 0;
	unsigned char *out;
	int n = -1;

	/* EVP_DecodeBlock lets blanks around the text pass. */
	if (len % 4 != 0 || len > INT_MAX || strcspn(text, " \t\r\n") < len)
		return imgd_error_set(err, IMGD_E_FORMAT, "bad base64");
	out = malloc(len / 4 * 3 + 1);
	if (out == NULL)
		return imgd_error_set(err, ENOMEM, "out of memory");
	while (n_pad < 2 && n_pad < len && text[len - 1 - n_pad] == '=')
		n_pad++;
	n = EVP_DecodeBlock(out, (const unsigned char *)text, (int)len);
	if (n < (int)n_pad || strcspn(text, "=") < len - n_pad) {
		free(out);
		return imgd_error_set(err, IMGD_E_FORMAT, "bad base64");
	}
	/* It counts the padding as bytes. */
	*ret_len = (size_t)n - n_pad;
	out[*ret_len] = '\0';
	*ret = out;
	return 0;
}

char *
base64_encode(const void *data, size_t len)
{
	unsigned char *out;

	if (len > INT_MAX / 2 || (out = malloc((len + 2) / 3 * 4 + 1)) == NULL)
		return NULL;
	(void)EVP_EncodeBlock(out, data, (int)len);
	return (char *)out;
}
