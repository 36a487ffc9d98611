"""Names that two screens share: the same to the letter, and never anything else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from explorer.errors import InputError
from explorer.spelling import SharedNames, fold_spelling, shared_names


def test_only_the_same_to_the_letter_is_shared():
    found = shared_names(["TP53", "MDM2", "HLA-A", "RPL5", "x"], ["RPL5", "tp53", "MDM2", "HLAA", "x", "y"])
    assert found.names == ("MDM2", "RPL5", "x")
    assert found.alike == (("HLA-A", "HLAA"), ("TP53", "tp53"))
    assert found.sentence == (
        "2 names of the first differ from the second in spelling alone and were not matched: 'HLA-A' and 'HLAA', "
        "'TP53' and 'tp53'."
    )


def test_one_name_and_many():
    three = ["a", "b", "c"]
    one = shared_names([*three, "TP53"], [*three, "tp53"], labels=("skin", "soft_tissue"))
    assert one.sentence == (
        "1 name of skin differs from soft_tissue in spelling alone and was not matched: 'TP53' and 'tp53'."
    )
    many = shared_names([*three, *(f"G{n}" for n in range(10))], [*three, *(f"g{n}" for n in range(10))])
    assert many.sentence.endswith("'G0' and 'g0', 'G1' and 'g1', 'G2' and 'g2' and 7 more.")
    assert shared_names(three, three) == SharedNames(("a", "b", "c"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("TP53", "tp53"),
        ("HLA-A", "HLA_A"),
        ("HLA-A", "HLA A"),
        ("HLA-A", "HLAA"),
        ("ENSG00000141510.18", "ENSG00000141510"),
        ("ENSG00000141510.18", "ENSG00000141510.2"),
        ("guide v2", "guide"),
        (" TP53 ", "TP53"),
    ],
)
def test_what_is_only_spelling(one, other):
    assert fold_spelling(one) == fold_spelling(other)


@pytest.mark.parametrize(("one", "other"), [("TP53", "TP63"), ("NKX2-1", "NKX2.1"), ("MED1", "MED10"), (".5", "")])
def test_what_is_not(one, other):
    assert fold_spelling(one) != fold_spelling(other)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        (["TP53", "MDM2"], ["tp53", "mdm2"], r"share no perturbation, .*the nearest are 'MDM2' and 'mdm2', 'TP53' and"),
        (["TP53", "MDM2", "a"], ["TP53B", "x", "a"], r"only 1 perturbation, .*the nearest are 'TP53' and 'TP53B', and"),
        (["TP53"], ["ENSG00000141510"], r"no name is like another: do they name perturbations in the same way"),
        ([], [], r"share no perturbation, expected 3 or more"),
    ],
)
def test_too_few_are_an_error_that_shows_the_nearest(one, other, said):
    with pytest.raises(InputError, match=f"^skin and soft_tissue .*{said}"):
        shared_names(one, other, labels=("skin", "soft_tissue"))


def test_the_number_that_is_needed_can_be_chosen():
    assert shared_names(["a"], ["a"], at_least=1).names == ("a",)
    with pytest.raises(InputError, match="only 3 perturbations, expected 50 or more"):
        shared_names("abc", "abc", at_least=50)


names = st.lists(st.text(alphabet="aAbB-_ .1", min_size=1, max_size=4), max_size=12)


@given(names, names)
def test_shared_names_are_the_intersection(one, other):
    found, back = (shared_names(*pair, at_least=0) for pair in ((one, other), (other, one)))
    assert found.names == back.names == tuple(sorted(set(one) & set(other)))
    for name, near in found.alike:
        assert name in one
        assert near in other
        assert name not in other
        assert near not in one
        assert fold_spelling(name) == fold_spelling(near)
    assert bool(found.alike) == bool(back.alike) == bool(found.sentence)
