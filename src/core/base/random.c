/*
 * random.c: the seeded generator: xoshiro256** (Blackman, Vigna: Scrambled Linear Pseudorandom Number Generators, 2021), its state
 * filled by splitmix64 so that any seed, zero too, is a good one. Same seed, same numbers, on every machine, for ever: named seeds of
 * the simulator depend on it.
 */
#include "base.h"

static uint64_t rotate_left(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

void nd_random_seed(NdRandom *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++)
	{
		uint64_t	z = (seed += UINT64_C(0x9e3779b97f4a7c15));

		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		r->s[i] = z ^ (z >> 31);
	}
}

uint64_t nd_random_next(NdRandom *r)
{
	uint64_t   *s = r->s;
	uint64_t	result = rotate_left(s[1] * 5, 7) * 9;
	uint64_t	t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

uint64_t nd_random_below(NdRandom *r, uint64_t n)
{
	/* numbers below 2^64 mod n would make small results likelier: draw again */
	uint64_t	reject_below = (0 - n) % n;
	uint64_t	v;

	do
		v = nd_random_next(r);
	while (v < reject_below);
	return v % n;
}
