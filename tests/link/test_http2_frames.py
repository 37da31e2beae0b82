"""Places between frames are found however the bytes are cut."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sfs_core.link.http2_frames import DATA, END_HEADERS, GO, HEADERS, SETTINGS, Frames, frame

CONTINUATION = 9
DATA_FRAMES = st.binary(max_size=40).map(lambda payload: [frame(DATA, 0, 1, payload)])
HEADER_FRAMES = st.lists(st.binary(max_size=12), min_size=1, max_size=3).map(
    lambda parts: [
        frame(CONTINUATION if i else HEADERS, END_HEADERS if i == len(parts) - 1 else 0, 1, part)
        for i, part in enumerate(parts)
    ]
)


@settings(max_examples=50)
@given(groups=st.lists(DATA_FRAMES | HEADER_FRAMES, max_size=8), data=st.data())
def test_a_frame_is_put_only_where_one_may_be(groups, data):
    whole = [frame(SETTINGS, 0, 0, b""), *(b"".join(group) for group in groups)]
    stream = b"".join(whole)
    ends = {len(b"".join(whole[:i])) for i in range(1, len(whole) + 1)}
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream)), max_size=10)) | {len(stream)})
    frames, begin = Frames(), 0
    assert not frames.complete
    for end in cuts:
        place = frames.feed(stream[begin:end])
        inside = {each for each in ends if begin <= each <= end} - ({begin} if begin == end else set())
        assert (None if place is None else begin + place) == max(inside, default=None)
        assert frames.complete == (end in ends)
        begin = end


def test_the_frame_that_sends_clients_away():
    assert bytes.fromhex("000008 07 00 00000000 7fffffff 00000000".replace(" ", "")) == GO
