"""The ring in which words wait: its places, and its memory with both bodies."""

import pytest
from amaranth.hdl import Module, Signal

from hw.dp16kd_model import Model
from upshift_hw import dp16kd
from upshift_hw.ring import Places, Words


@pytest.mark.parametrize("quarter", [1, 7, 8, 31, 32, 127])
def test_places_are_a_ring_of_quarters(run, quarter):
    places = Places(quarter)
    assert quarter <= places.quarter <= max(7, 2 * quarter)
    m = Module()
    place, second = places.first("place"), places.second("second")
    first = Signal.like(place, init=place.init)
    opposite = Signal()
    m.d.sync += place.eq(places.after(place))
    m.d.comb += opposite.eq(places.opposite(place, first))

    async def testbench(context, reset):
        seen = []
        for n in range(4 * places.quarter):
            seen.append(context.get(place))
            assert context.get(opposite) == (n // places.quarter == 2)
            await context.tick()
        assert len(set(seen)) == len(seen)
        assert context.get(place) == seen[0]
        assert context.get(second) == seen[1]

    run(m, testbench)


def test_a_quarter_that_is_too_large_is_refused():
    with pytest.raises(ValueError, match="a quarter of 128 places is not allowed: at most 127"):
        Places(128)


@pytest.mark.parametrize("width", [1, 17, 40])
@pytest.mark.parametrize("ram", ["inferred", "dp16kd"])
def test_words_come_as_they_are_asked_for(run, rng, monkeypatch, ram, width):
    monkeypatch.setattr(dp16kd, "Instance", Model)
    words = Words(width=width, places=5, ram=ram)

    async def testbench(context, reset):
        model = {}
        latched = shown = None
        for _ in range(600):
            write, advance = rng.random() < 0.5, rng.random() < 0.6
            target, place = (int(rng.integers(32)) for _ in range(2))
            word = int(rng.integers(1 << width))
            context.set(words.write, write)
            context.set(words.write_place, target)
            context.set(words.write_word, word)
            context.set(words.place, place)
            context.set(words.advance, advance)
            await context.tick()
            if advance:
                collides = write and target == place
                latched, shown = None if collides else model.get(place), latched
            if write:
                model[target] = word
            assert shown in (None, context.get(words.word))

    run(words, testbench)
