"""Values that layers make of an example, counted by hand."""

from __future__ import annotations

from flspec.layers import Add, Conv, Dense, Flatten, chain, count_values_at_once, count_values_made, one_network


def test_what_each_layer_makes_counts_once_and_a_flattened_tensor_is_the_same():
    layers = chain([Conv(name="c", channels=5, kernel_size=1), Flatten(name="f"), Dense(name="d", units=3)])
    assert count_values_made(one_network(layers, (2, 4, 4))) == 2 * 16 + 5 * 16 + 3
    assert count_values_made(one_network(chain([Dense(name="d", units=3)]), (7,))) == 7 + 3


def test_of_two_branches_the_longer_holds_what_the_shorter_waits_with():
    def conv(name, source, channels):
        return Conv(name=name, inputs=(source,), channels=channels, kernel_size=1)

    layers = (conv("a", "input", 7), conv("b", "a", 100), conv("c", "b", 7), Add(name="d", inputs=("c", "a")))
    assert count_values_at_once(one_network(layers, (1, 1, 1))) == 7 + 100 + 7
