/* CRC-64 of ISO 3309, eight bytes at a time. */
#include "config.h"

#include <pthread.h>
#include <string.h>

#include "adopt/tar-split.h"

#define POLYNOMIAL UINT64_C(0xd800000000000000) /* reversed */

static uint64_t tables[8][256];
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void
make_tables(void)
{
	unsigned int i, k;

	for (i = 0; i < 256; i++) {
		uint64_t crc = i;

		for (k = 0; k < 8; k++)
			crc = (crc & 1) != 0 ? crc >> 1 ^ POLYNOMIAL
					     : crc >> 1;
		tables[0][i] = crc;
	}
	for (i = 0; i < 256; i++)
		for (k = 1; k < 8; k++)
			tables[k][i] = tables[k - 1][i] >> 8 ^
			    tables[0][tables[k - 1][i] & 0xff];
}

static uint64_t
load_le64(const uint8_t *p)
{
	uint64_t v = 0;
	int i;

	for (i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

uint64_t
crc64_iso(uint64_t crc, const void *data, size_t len)
{
	const uint8_t *p = data;
	unsigned int k;

	(void)pthread_once(&once, make_tables);
	crc = ~crc;
	for (; len >= 8; len -= 8, p += 8) {
		uint64_t v = crc ^ load_le64(p);

		crc = 0;
		for (k = 0; k < 8; k++)
			crc ^= tables[7 - k][v >> 8 * k & 0xff];
	}
	for (; len > 0; len--)
		crc = tables[0][(crc ^ *p++) & 0xff] ^ crc >> 8;
	return ~crc;
}
