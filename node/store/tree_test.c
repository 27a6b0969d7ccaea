#include "node/store/tree.h"

#include "tests/lib/test.h"

static struct tree *with(struct tree *tree, const char *key, const char *value)
{
    struct tree *next = tree_put(tree, bytes_str(key), bytes_str(value));
    tree_drop(tree);
    return next;
}

static void test_tree__an_old_tree_never_changes(void **state)
{
    (void)state;
    struct tree *old = with(with(with(NULL, "b", "1"), "a", "1"), "c", "1");
    struct tree *changed = tree_put(old, BYTES_LIT("b"), BYTES_LIT("2"));
    struct tree *fewer = tree_delete(changed, BYTES_LIT("a"));
    assert_bytes_equal(tree_value(tree_find(old, BYTES_LIT("b"))), BYTES_LIT("1"));
    assert_bytes_equal(tree_value(tree_find(changed, BYTES_LIT("b"))), BYTES_LIT("2"));
    assert_non_null(tree_find(changed, BYTES_LIT("a")));
    assert_null(tree_find(fewer, BYTES_LIT("a")));
    tree_drop(old);
    tree_drop(changed);
    assert_non_null(tree_find(fewer, BYTES_LIT("c")));
    tree_drop(fewer);
}

static void test_tree__neighbours_are_found(void **state)
{
    (void)state;
    struct tree *tree = NULL;
    for (char key[3] = "a0"; key[1] <= '9'; key[1]++) {
        tree = with(tree, key, "");
    }
    struct bytes five = BYTES_LIT("a5"), between = BYTES_LIT("a55");
    assert_bytes_equal(tree_key(tree_from(tree, five, false)), five);
    assert_bytes_equal(tree_key(tree_from(tree, five, true)), BYTES_LIT("a6"));
    assert_bytes_equal(tree_key(tree_from(tree, between, false)), BYTES_LIT("a6"));
    assert_bytes_equal(tree_key(tree_before(tree, &five)), BYTES_LIT("a4"));
    assert_bytes_equal(tree_key(tree_before(tree, &between)), five);
    assert_bytes_equal(tree_key(tree_before(tree, NULL)), BYTES_LIT("a9"));
    assert_null(tree_from(tree, BYTES_LIT("b"), false));
    assert_null(tree_before(tree, &BYTES_LIT("a")));
    assert_null(tree_find(tree, between));
    tree_drop(tree);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tree__an_old_tree_never_changes),
        cmocka_unit_test(test_tree__neighbours_are_found),
    };
    return cmocka_run_group_tests_name("tree", tests, NULL, NULL);
}
