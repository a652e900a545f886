/* What garbage collection takes, and what it leaves. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/gc-plan.h"

/*
 * Four images on one base, used in the order a, b, c, d; b has nothing of its
 * own that c has not; and a partial blob, used after b.
 */
enum { BASE, OF_A, OF_BC, OF_C, OF_D, PART, N_LAYERS };
enum { A, B, C, D, P, N_ITEMS };

struct case_state {
	struct gc_layer layers[N_LAYERS];
	struct gc_item list[N_ITEMS];
	struct gc_items all;
	struct gc_policy policy;
	uint64_t bytes;
};

static const size_t links[] = { BASE, OF_A, BASE, OF_BC, BASE, OF_BC, OF_C,
	BASE, OF_D, PART };

static struct case_state
fresh(void)
{
	return (struct case_state) {
		.layers = { [BASE] = { .bytes = 1000 },
		    [OF_A] = { .bytes = 10 }, [OF_BC] = { .bytes = 20 },
		    [OF_C] = { .bytes = 30 }, [OF_D] = { .bytes = 40 },
		    [PART] = { .bytes = 5 } },
		.list = {
			[A] = { .used_at_ms = 100, .first = 0, .n = 2 },
			[B] = { .used_at_ms = 200, .first = 2, .n = 2 },
			[C] = { .used_at_ms = 300, .first = 4, .n = 3 },
			[D] = { .used_at_ms = 400, .first = 7, .n = 2 },
			[P] = { .used_at_ms = 250, .first = 9, .n = 1,
			    .is_partial = true },
		},
		.policy = { .keep_since_ms = INT64_MAX },
	};
}

/* The plan as a text of the items' names. */
static const char *
plan(struct case_state *s)
{
	static char text[N_ITEMS + 1];
	size_t i, n = 0;

	s->all = (struct gc_items) { .list = s->list, .n = N_ITEMS,
		.layers = s->layers, .n_layers = N_LAYERS, .links = links };
	assert_int_equal(gc_plan(&s->all, &s->policy, &s->bytes, NULL), 0);
	for (i = 0; i < N_ITEMS; i++)
		if (s->list[i].is_chosen)
			text[n++] = "ABCDP"[i];
	text[n] = '\0';
	assert_int_equal(gc_freed(&s->all), s->bytes);
	return text;
}

static const char *
plan_goal(struct case_state *s, uint64_t bytes)
{
	s->policy.has_goal = true;
	s->policy.goal_bytes = bytes;
	return plan(s);
}

static void
nothing_goes_without_need(void **state)
{
	struct case_state s = fresh();

	(void)state;
	assert_string_equal(plan_goal(&s, 0), "");
	assert_int_equal(s.bytes, 0);
}

static void
the_longest_unused_goes_first(void **state)
{
	struct case_state s = fresh();

	(void)state;
	assert_string_equal(plan_goal(&s, 1), "A");
	assert_int_equal(s.bytes, 10);
	s.list[A].used_at_ms = 500;
	assert_string_equal(plan_goal(&s, 1), "P");
	assert_string_equal(plan_goal(&s, 6), "C");
}

static void
what_frees_nothing_stays(void **state)
{
	struct case_state s = fresh();

	(void)state;
	/* b alone would free nothing, and a with the partial blob do. */
	assert_string_equal(plan_goal(&s, 15), "AP");
	assert_int_equal(s.bytes, 15);
	/* The partial blob would not be needed beside b and c. */
	assert_string_equal(plan_goal(&s, 60), "ABC");
	assert_int_equal(s.bytes, 60);
}

static void
shared_layers_go_with_their_last_image(void **state)
{
	struct case_state s = fresh();

	(void)state;
	assert_string_equal(plan_goal(&s, 1000000), "ABCDP");
	assert_int_equal(s.bytes, 1105);
	s.layers[BASE].is_held = true;
	assert_string_equal(plan_goal(&s, 1000000), "ABCDP");
	assert_int_equal(s.bytes, 105);
	s.list[D].is_pinned = true;
	assert_string_equal(plan_goal(&s, 1000000), "ABCP");
	assert_int_equal(s.bytes, 65);
	assert_int_equal(gc_freeable(&s.all), 65);
}

static void
the_last_used_are_kept(void **state)
{
	struct case_state s = fresh();

	(void)state;
	s.policy.keep_last = 2;
	assert_string_equal(plan_goal(&s, 1000000), "AP");
	/* One that is in use is among them. */
	s.list[D].is_pinned = true;
	assert_string_equal(plan(&s), "AP");
	s.policy.has_goal = false;
	assert_string_equal(plan(&s), "AB");
}

static void
what_was_used_since_is_kept(void **state)
{
	struct case_state s = fresh();

	(void)state;
	s.policy.keep_since_ms = 250;
	assert_string_equal(plan(&s), "AB");
	s.policy.keep_since_ms = 251;
	assert_string_equal(plan(&s), "ABP");
	assert_string_equal(plan_goal(&s, 1000000), "AP");
}

static void
what_is_due_goes_unless_it_is_in_use(void **state)
{
	struct case_state s = fresh();

	(void)state;
	s.list[P].is_due = true;
	assert_string_equal(plan_goal(&s, 0), "P");
	assert_string_equal(plan_goal(&s, 5), "P");
	s.list[P].is_pinned = true;
	assert_string_equal(plan_goal(&s, 0), "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_goes_without_need),
		cmocka_unit_test(the_longest_unused_goes_first),
		cmocka_unit_test(what_frees_nothing_stays),
		cmocka_unit_test(shared_layers_go_with_their_last_image),
		cmocka_unit_test(the_last_used_are_kept),
		cmocka_unit_test(what_was_used_since_is_kept),
		cmocka_unit_test(what_is_due_goes_unless_it_is_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
