#include "config.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "lib/path-set.h"

/* A shard grows by half when it is 17/20 full: 8 * 1.5 / 0.85 = 14.1 bytes
 * a member at most, and growing moves one shard only. */
#define MIN_SLOTS 32
#define FULL_NUM  17
#define FULL_DEN  20

int
path_set_init(struct path_set *s, struct imgd_error **err)
{
	memset(s, 0, sizeof(*s));
	if (getrandom(s->key, sizeof(s->key), 0) != sizeof(s->key))
		return imgd_error_set(err, errno, "getrandom: %s",
		    strerror(errno));
	return 0;
}

void
path_set_done(struct path_set *s)
{
	size_t i;

	for (i = 0; i < PATH_SET_SHARDS; i++)
		free(s->shards[i].slots);
	memset(s, 0, sizeof(*s));
}

static inline uint64_t
rotl(uint64_t x, int b)
{
	return (x << b) | (x >> (64 - b));
}

static inline void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotl(v[1], 13) ^ v[0];
	v[0] = rotl(v[0], 32);
	v[2] += v[3];
	v[3] = rotl(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotl(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotl(v[1], 17) ^ v[2];
	v[2] = rotl(v[2], 32);
}

uint64_t
path_hash(const uint64_t key[2], char tag, const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t v[4] = {
		key[0] ^ UINT64_C(0x736f6d6570736575),
		key[1] ^ UINT64_C(0x646f72616e646f6d),
		key[0] ^ UINT64_C(0x6c7967656e657261),
		key[1] ^ UINT64_C(0x7465646279746573) ^ (unsigned char)tag,
	};
	uint64_t m;
	size_t left = len;

	for (; left >= 8; p += 8, left -= 8) {
		memcpy(&m, p, 8);
		m = le64toh(m);
		v[3] ^= m;
		sip_round(v);
		v[0] ^= m;
	}
	m = (uint64_t)len << 56;
	while (left > 0) {
		left--;
		m |= (uint64_t)p[left] << (8 * left);
	}
	v[3] ^= m;
	sip_round(v);
	v[0] ^= m;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* The slot where hash is, or the free one where it belongs. */
static uint64_t *
find_slot(uint64_t *slots, size_t n_slots, uint64_t hash)
{
	/* The top bits chose the shard; the low ones choose the slot. */
	size_t i = (size_t)(((hash & UINT32_MAX) * n_slots) >> 32);

	while (slots[i] != 0 && slots[i] != hash)
		i = i + 1 == n_slots ? 0 : i + 1;
	return &slots[i];
}

static int
grow(struct path_shard *sh)
{
	size_t i, n = sh->n_slots == 0 ? MIN_SLOTS :
	    sh->n_slots + sh->n_slots / 2;
	uint64_t *slots = calloc(n, sizeof(*slots));

	if (slots == NULL)
		return -ENOMEM;
	for (i = 0; i < sh->n_slots; i++)
		if (sh->slots[i] != 0)
			*find_slot(slots, n, sh->slots[i]) = sh->slots[i];
	free(sh->slots);
	sh->slots = slots;
	sh->n_slots = n;
	return 0;
}

static uint64_t
hash_of(const struct path_set *s, char tag, const char *path, size_t len)
{
	uint64_t hash = path_hash(s->key, tag, path, len);

	return hash == 0 ? 1 : hash;
}

int
path_set_add(struct path_set *s, char tag, const char *path, size_t len,
    struct imgd_error **err)
{
	uint64_t hash = hash_of(s, tag, path, len);
	struct path_shard *sh = &s->shards[hash >> 58];
	uint64_t *slot;

	if (sh->n_used * FULL_DEN >= sh->n_slots * FULL_NUM && grow(sh) < 0)
		return imgd_error_set(err, ENOMEM, "out of memory");
	slot = find_slot(sh->slots, sh->n_slots, hash);
	if (*slot == hash)
		return 0;
	*slot = hash;
	sh->n_used++;
	return 1;
}

bool
path_set_has(const struct path_set *s, char tag, const char *path, size_t len)
{
	uint64_t hash = hash_of(s, tag, path, len);
	const struct path_shard *sh = &s->shards[hash >> 58];

	return sh->n_slots > 0 &&
	    *find_slot(sh->slots, sh->n_slots, hash) == hash;
}
