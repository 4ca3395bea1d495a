"""Parsing: exact round trips, the grammar, and errors that point at the character."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from symloss.errors import ExpressionError, ParseError
from symloss.expression.expression import MAX_DEPTH, MAX_SIZE, Expression
from symloss.expression.parsing import MAX_LENGTH, parse
from symloss.expression.primitives import search_set
from tests.expression.helpers import registered_soft_plus
from tests.strategies import any_weights, expressions


def exactly(e: Expression) -> tuple[object, ...]:
    """What must survive: names, and weights bit for bit (0.0 and -0.0 are equal but not the same)."""
    return e.nodes, tuple(w.hex() for w in e.weights)


@given(expressions(max_depth=7, primitives="all", weights=any_weights))
def test_text_round_trips_bit_for_bit(e: Expression) -> None:
    assert exactly(parse(str(e))) == exactly(e)


def attempt(text: str) -> Expression | ParseError:
    try:
        return parse(text)
    except ParseError as error:
        return error


@pytest.mark.parametrize("inner", [1.0, -1.0, 0.5, -0.0])
@pytest.mark.parametrize("outer", [1.0, -1.0, 0.5, -0.0])
@pytest.mark.parametrize("name", ["add", "sub", "mul", "div", "pow", "truediv", "max"])
def test_every_pair_of_neighbours_round_trips(name: str, outer: float, inner: float) -> None:
    for child in [*(row.name for row in search_set()), "y", "1", "-1"]:
        arity = {"y": 0, "1": 0, "-1": 0}.get(
            child, 1 if child in ("sign", "square", "abs", "log", "sqrt", "tanh") else 2
        )
        grandchildren = ("1", "-1")[:arity]
        for nodes in (
            (name, child, *grandchildren, "f"),
            (name, "f", child, *grandchildren),
            (name, "-1", child, *grandchildren),
        ):
            at = 0 if nodes[1] == child else 1
            weights = [inner] * (len(nodes) - 1)
            weights[at] = outer
            e = Expression(nodes, tuple(weights))
            assert exactly(parse(str(e))) == exactly(e), str(e)


def test_the_deepest_and_the_largest_expressions_round_trip() -> None:
    weight = -1.2345678901234567e-300
    brackets = ("mul", "y") * MAX_DEPTH + ("f",)  # y*(w*(y*(w*...: two brackets a level
    deep = Expression(brackets, (weight,) * (len(brackets) - 1))
    assert str(deep).count("(") > 1.9 * MAX_DEPTH
    assert exactly(parse(str(deep))) == exactly(deep)
    level: tuple[str, ...] = ("f",)
    while 2 * len(level) + 1 <= MAX_SIZE:
        level = ("truediv", *level, *level)
    large = Expression(level, (weight,) * (len(level) - 1))
    assert len(str(large)) < MAX_LENGTH
    assert exactly(parse(str(large))) == exactly(large)


@pytest.mark.parametrize(
    ("text", "nodes", "weights"),
    [
        ("f", "f", ()),
        ("1", "1", ()),
        ("-1", "-1", ()),
        ("-1.0", "mul 1 1", (-1.0, 1.0)),
        ("0.5", "mul 1 1", (0.5, 1.0)),
        ("log(2)", "log 1", (2.0,)),
        ("log(1.0)", "log 1", (1.0,)),
        ("log(-1.0)", "log 1", (-1.0,)),
        ("log(-1)", "log -1", (1.0,)),
        ("log(0.5*-1)", "log -1", (0.5,)),
        ("y + 2*3*f", "add y f", (1.0, 6.0)),
        ("y + f*2", "add y f", (1.0, 2.0)),
        ("y - -f", "sub y f", (1.0, -1.0)),
        ("y + f/4", "add y f", (1.0, 0.25)),
        ("y/f", "truediv y f", (1.0, 1.0)),
        ("1/f", "truediv 1 f", (1.0, 1.0)),
        ("2/4 + f", "add 1 f", (0.5, 1.0)),
        ("f**2", "square f", (1.0,)),
        ("f**2.0", "square f", (1.0,)),
        ("f**1", "f", ()),
        ("f**3", "mul f square f", (1.0, 1.0, 1.0)),
        ("f**-1", "truediv 1 f", (1.0, 1.0)),
        ("f**-2", "pow f 1", (1.0, -2.0)),
        ("f**0.5", "pow f 1", (1.0, 0.5)),
        ("f**y**2", "pow f square y", (1.0, 1.0, 1.0)),
        ("pow(f, 2)", "pow f 1", (1.0, 2.0)),
        ("2**-f", "pow 1 f", (2.0, -1.0)),
        ("abs(-f**2)", "abs square f", (-1.0, 1.0)),
        ("-y*log(f)", "mul y log f", (-1.0, 1.0, 1.0)),
        ("0.5*(y*f)", "mul y f", (0.5, 1.0)),
        ("-(y + f)", "add y f", (-1.0, -1.0)),
        ("2*(y - f)", "sub y f", (2.0, 2.0)),
        ("3*div(y, f)", "div y f", (3.0, 1.0)),
        ("-abs(f)", "mul 1 abs f", (-1.0, 1.0, 1.0)),
        ("2*f", "mul 1 f", (2.0, 1.0)),
        ("y - f - 1", "sub sub y f 1", (1.0, 1.0, 1.0, 1.0)),
        ("y - (f - 1)", "sub y sub f 1", (1.0, 1.0, 1.0, 1.0)),
        ("y*f*y", "mul mul y f y", (1.0, 1.0, 1.0, 1.0)),
        ("y + f*y", "add y mul f y", (1.0, 1.0, 1.0, 1.0)),
        ("mul(2, y)", "mul 1 y", (2.0, 1.0)),
        ("add(1, 1)", "add 1 1", (1.0, 1.0)),
        (" max ( y ,\n\tf ) ", "max y f", (1.0, 1.0)),
        ("+f", "f", ()),
        ("((f))", "f", ()),
        ("abs(.5*y + 1.e1*f)", "abs add y f", (1.0, 0.5, 10.0)),
    ],
)
def test_grammar(text: str, nodes: str, weights: tuple[float, ...]) -> None:
    e = parse(text)
    assert exactly(e) == exactly(Expression(tuple(nodes.split()), weights))
    assert exactly(parse(str(e))) == exactly(e)


def test_an_expression_is_returned_as_it_is() -> None:
    e = parse("y*f")
    assert parse(e) is e


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("", 0, "the text ends"),
        (" \n", 2, "the text ends"),
        ("y +", 3, "the text ends"),
        ("((((", 4, "the text ends"),
        ("log(f", 0, "never closed"),
        ("y*(f + log(y)", 2, "never closed"),
        ("log(f))", 6, "no open bracket"),
        ("y, f", 1, "no open bracket"),
        ("(y, f)", 2, "comma separates"),
        ("y*lgo(f)", 2, "unknown operation 'lgo': did you mean log"),
        ("ln(f)", 0, "did you mean log"),
        ("maximum(y, f)", 0, "did you mean max"),
        ("relu(f)", 0, "known: add, sub"),
        ("y_true*f", 0, "unknown variable 'y_true'; the variables are y .* did you mean y"),
        ("y*log(y_pred)", 6, "did you mean f"),
        ("z", 0, "the variables are y"),
        ("log*f", 0, r"write its arguments in brackets, as in log\(f\)"),
        ("y(f)", 0, "y is a variable"),
        ("log()", 0, "log takes 1 argument; received 0"),
        ("log(y, f)", 0, "log takes 1 argument; received 2"),
        ("1 + max(y)", 4, "max takes 2 arguments; received 1"),
        ("max(y,, f)", 6, "',' stands where"),
        ("2y", 1, "operator is missing before 'y'"),
        ("y f", 2, "operator is missing before 'f'"),
        ("(y)(f)", 3, r"operator is missing before '\('"),
        ("f^2", 1, r"write \*\*"),
        ("y − f", 2, "plain minus"),
        ("|f|", 0, "abs"),
        ("y/0", 1, "division by zero"),
        ("y + 1e999", 4, "outside the range"),
        ("1e-999*y", 0, "outside the range"),
        ("1e200*(1e200*y)", 5, "finite"),
        ("0x10", 1, "operator is missing"),
        ("f.real", 1, "'.' has no meaning"),
        ("__import__('os').system('x')", 0, "unknown operation '__import__'"),
        ("lambda: y", 0, "unknown variable 'lambda'"),
        ("[f for f in y]", 0, "round brackets"),
        ("(y := 3)", 3, "':' has no meaning"),
        ("f'{y}'", 1, "no meaning"),
        ("y\x00f", 1, r"'\\x00'"),
        ("\ud800", 0, r"'\\ud800'"),
        ("é*f", 0, "unknown variable 'é'"),
        ("y*日本 + f", 2, "unknown variable '日本'"),
        ("y + 'ü' + q", 4, "no meaning"),
    ],
)
def test_errors_point_at_the_character(text: str, position: int, message: str) -> None:
    with pytest.raises(ParseError, match=message) as caught:
        parse(text)
    error = caught.value
    assert isinstance(error, ExpressionError)
    assert isinstance(error, ValueError)
    assert "\n" not in str(error)
    assert (error.text, error.position) == (text, position)
    assert len(error.pointer().split("\n")) == 2


def test_the_pointer_stands_under_the_character() -> None:
    for text, width in (("y*lgo(f)", 72), ("日本*f*lgo(f)", 72), ("y + " * 200 + "lgo(f)" + " + y" * 200, 40)):
        with pytest.raises(ParseError) as caught:
            parse(text)
        line, caret = caught.value.pointer(width).split("\n")
        assert len(line) <= width + 2
        expected = "lgo" if "日" not in text else "日"
        assert caret == " " * line.index(expected) + "^"
    line, caret = ParseError("", "日本*lgo", 3).pointer().split("\n")
    assert caret == " " * 5 + "^"  # wide characters take two columns
    assert ParseError("no position").pointer() == ""


@pytest.mark.parametrize(
    "text",
    [
        "f" * 10_000_000,
        "f + " * 2_500_000,
        "(" * 10_000,
        "abs(" * 10_000 + "f" + ")" * 10_000,
        "-" * 900_000 + "f",
        "**".join(["f"] * 5_000),
        "+".join(["f"] * 5_000),
        "*".join(["f"] * 5_000),
        "1" * 100_000,
        "x" * 500_000 + "(y)",
        "(" * 300 + "+".join(["f"] * 300) + ")" * 300,
        "(" + "+".join(["(" + "+".join(["f"] * 150) + ")"] * 150) + ")",
        "f**3" * 1 + "**3" * 5_000,
        "(" * 150 + "f" + ")**3" * 150,
    ],
    ids=lambda text: f"{text[:8]}... {len(text)}",
)
def test_size_depth_and_numbers_are_bounded(text: str) -> None:
    start = time.perf_counter()
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert time.perf_counter() - start < 3
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("value", [None, 3, b"y", ["y"]])
def test_only_text_is_read(value: object) -> None:
    with pytest.raises(ParseError, match="received"):
        parse(value)  # type: ignore[arg-type]


def test_huge_powers_are_written_down_and_not_computed() -> None:
    assert parse("9**9**9") == Expression(("pow", "1", "pow", "1", "1"), (9.0, 1.0, 9.0, 9.0))


GRAMMAR = st.lists(
    st.sampled_from([*"yf01.()+-*/,^ _eé|", "**", "log(", "max(", "abs", "1e5", "-1", "__class__", "\x00", "\n"]),
    max_size=30,
)


@given(st.one_of(st.text(max_size=40), GRAMMAR.map("".join)))
@example("1e")
@example(".")
@example("--1")
@example("-1**2")
def test_any_text_gives_an_expression_or_one_line(text: str) -> None:
    result = attempt(text)
    if isinstance(result, Expression):
        assert exactly(parse(str(result))) == exactly(result)
        return
    assert "\n" not in str(result)
    assert result.position is not None
    assert 0 <= result.position <= len(text)
    assert result.pointer().count("\n") == 1


@given(expressions(), st.data())
def test_a_damaged_text_never_crashes(e: Expression, data: st.DataObject) -> None:
    text = str(e)
    at = data.draw(st.integers(0, len(text)))
    damaged = data.draw(st.sampled_from([text[:at], text[:at] + text[at + 1 :], text[:at] + "(" + text[at:]]))
    result = attempt(damaged)
    assert isinstance(result, Expression) or result.text == damaged


def test_registered_primitives_are_read_and_printed() -> None:
    with registered_soft_plus():
        e = parse("2*soft_plus(-f)*y")
        assert e.nodes == ("mul", "soft_plus", "f", "y")
        assert parse(str(e)) == e
    with pytest.raises(ParseError, match="unknown operation"):
        parse("soft_plus(f)")
