"""What a user can write, and what each mistake in it says."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import poise
from poise import boundary, data, initial, interior, periodic, periodic_sides
from poise.derivatives.streams import single
from poise.losses import Model, Objective

TX = {"t": (0, 1), "x": (0, 1)}
TXY = {"t": (0, 1), "x": (-1, 1), "y": (0, 3)}
TORUS = {"t": (0, 1), "x": periodic(-1, 3)}
MEASURED = {"t": [0.0, 1.0], "x": [0.0, 0.5], "u": [1.0, 2.0]}


def problem(terms=None, coordinates=TX, fields=("u",), **options):
    terms = {"heat": interior(lambda u: u.t - u.xx)} if terms is None else terms
    return poise.Problem(coordinates, fields, terms, **options)


def heat(residual):
    """A problem whose term "heat" has this residual."""
    return problem({"heat": interior(residual)})


# Mistakes


class Unsigned:
    def __call__(self, *everything):
        return everything


def raising(u):
    raise KeyError("no such table")


NAMES = "u, t, x"
MISTAKES = {
    # Names in a residual
    "unknown argument": (lambda: heat(lambda u, y: u - y), ["'heat'", "interior()", "'y'", NAMES]),
    "unknown argument on a side": (
        lambda: problem({"wall": boundary("x", lambda u, y: u - y)}),
        ["'wall'", "boundary('x')", "'y'", "u, t, x, normal"],
    ),
    "unknown argument of the second": (
        lambda: problem({"start": [initial(lambda u: u), initial(lambda u, v: u - v)]}),
        ["'start'", "initial()", "'v'", NAMES],
    ),
    "normal in the interior": (
        lambda: heat(lambda u, normal: u * normal[0]),
        ["'heat'", "'normal'", "only a boundary in space", NAMES],
    ),
    "normal at the end of time": (
        lambda: problem({"end": boundary("t", lambda u, normal: u * normal[0], at=1)}),
        ["'end'", "boundary('t')", "'normal'", "only a boundary in space", NAMES],
    ),
    "*args": (lambda: heat(lambda *fields: fields[0]), ["'heat'", "'*fields'", "by name", "list"]),
    "**kwargs": (lambda: heat(lambda **all: all["u"]), ["'heat'", "'**all'", "by name", "list"]),
    "positional only": (lambda: heat(lambda u, /: u.xx), ["'heat'", "'u'", "by name"]),
    "*args of an object": (lambda: heat(Unsigned()), ["'heat'", "'*everything'", "by name"]),
    "no signature": (lambda: heat(max), ["'heat'", "max", "not known", "lambda u, x"]),
    # Derivatives
    "derivative by unknown": (
        lambda: heat(lambda u: u.t - u.yy),
        ["'heat'", "interior()", "u.yy", "t, x", "u.d('name', ...)"],
    ),
    "d by unknown": (lambda: heat(lambda u: u.d("y", "y")), ["'heat'", "u.d('y')", "t, x"]),
    "d of nothing": (lambda: heat(lambda u: u.d()), ["'heat'", "u.d()", "t, x"]),
    "n in the interior": (lambda: heat(lambda u: u.n), ["'heat'", "u.n", "only boundary()"]),
    "laplacian without space": (
        lambda: problem({"ode": interior(lambda u: u.laplacian)}, {"t": (0, 1)}),
        ["'ode'", "u.laplacian", "spatial", "coordinates are t "],
    ),
    "derivative inside jit": (
        lambda: heat(jax.jit(lambda u: u.xx)),
        ["'heat'", "u.d('x', 'x')", "take the derivative outside"],
    ),
    # What a residual returns or does
    "returns None": (lambda: heat(lambda u: None), ["'heat'", "interior()", "None", "return?"]),
    "returns a vector": (
        lambda: heat(lambda u: u * jnp.ones(3)),
        ["'heat'", "shape (3,)", "one number", "tuple"],
    ),
    "returns complex": (lambda: heat(lambda u: 1j * u), ["'heat'", "complex128", "real number"]),
    "returns a truth": (lambda: heat(lambda u: u == 0), ["'heat'", "bool", "real number"]),
    "returns a string": (lambda: heat(lambda u: "u.xx"), ["'heat'", "'u.xx'", "one number"]),
    "returns a mapping": (lambda: heat(lambda u: {"a": 1}), ["'heat'", "{'a': 1}", "one number"]),
    "returns an empty tuple": (lambda: heat(lambda u: ()), ["'heat'", "empty tuple"]),
    "returns a nested tuple": (lambda: heat(lambda u: ((u.x, 1), 2)), ["'heat'", "one number"]),
    "returns None in a tuple": (lambda: heat(lambda u: (u.xx, None)), ["'heat'", "None"]),
    "uses no field": (lambda: heat(lambda t, x: t + x), ["'heat'", "no field", "fields are u"]),
    "second uses no field": (
        lambda: problem({"start": [initial(lambda u: u), initial(lambda x: x)]}),
        ["'start'", "initial()", "no field", "fields are u"],
    ),
    "raises": (lambda: heat(raising), ["'heat'", "KeyError", "no such table"]),
    "branches on a field": (
        lambda: heat(lambda u: u.xx if u > 0 else u),
        ["'heat'", "jnp.where", "cannot branch"],
    ),
    "asks whether a field is zero": (
        lambda: heat(lambda u: u.xx if u else u.x),
        ["'heat'", "jnp.where", "cannot branch"],
    ),
    "branches on a coordinate": (
        lambda: heat(lambda u, x: u.xx if x > 0.5 else u),
        ["'heat'", "jnp.where", "cannot branch"],
    ),
    "math.sin": (lambda: heat(lambda u: u.xx + math.sin(u)), ["'heat'", "jax.numpy", "math"]),
    "int of a field": (lambda: heat(lambda u: u.xx * int(u)), ["'heat'", "jax.numpy"]),
    "numpy.where": (lambda: heat(lambda u: np.where(u > 0, 1, 0)), ["'heat'", "jax.numpy"]),
    "sum of a field": (lambda: heat(lambda u: sum(u) + u.xx), ["'heat'", "TypeError", "0-d"]),
    "jax.lax of a field": (lambda: heat(lambda u: jax.lax.exp(u)), ["'heat'", "give it u.value"]),
    "field called": (lambda: heat(lambda u, x: u(x)), ["'heat'", "TypeError", "not callable"]),
    # Where a condition holds
    "side of an unknown coordinate": (
        lambda: problem({"wall": boundary("y", lambda u: u)}),
        ["'wall'", "boundary('y')", "t, x"],
    ),
    "value that is no end": (
        lambda: problem({"wall": boundary("x", lambda u: u, at=0.5)}),
        ["'wall'", "boundary('x', at=0.5)", "ends of x are 0 and 1"],
    ),
    "end that is NaN": (
        lambda: problem({"wall": boundary("x", lambda u: u, at=math.nan)}),
        ["'wall'", "at=nan", "ends of x are 0 and 1"],
    ),
    "end that is no number": (
        lambda: problem({"wall": boundary("x", lambda u: u, at="right")}),
        ["boundary('x', at='right')", "one end of x"],
    ),
    "end without coordinate": (
        lambda: problem({"wall": boundary(lambda u: u, at=1.0)}),
        ["at=1.0", "boundary('x', f, at=...)"],
    ),
    "sides of time": (
        lambda: problem({"ends": boundary("t", lambda u: u)}),
        ["'ends'", "boundary('t')", "initial()", "boundary('t', f, at=1)"],
    ),
    "boundary without space": (
        lambda: problem({"ends": boundary(lambda u: u)}, {"t": (0, 1)}),
        ["'ends'", "boundary()", "initial()"],
    ),
    "initial without time": (
        lambda: problem({"start": initial(lambda u: u)}, {"x": (0, 1), "y": (0, 1)}),
        ["'start'", "initial()", "'t'", "time=", "x, y"],
    ),
    "initial with time off": (
        lambda: problem({"start": initial(lambda u: u)}, time=None),
        ["'start'", "initial()", "time=", "t, x"],
    ),
    "boundary arguments swapped": (
        lambda: boundary(lambda u: u, "x"),
        ["'x'", "boundary('x', f)", "at=1.0"],
    ),
    "boundary without residual": (lambda: boundary("x"), ["boundary('x',)", "boundary('x', f)"]),
    "end as third argument": (
        lambda: boundary("x", lambda u: u, 1.0),
        ["1.0", "boundary('x', f, at=1.0)"],
    ),
    "residual is a number": (lambda: interior(5), ["interior(5)", "int", "lambda u, x"]),
    "residual is a string": (lambda: initial("u - x"), ["initial('u - x')", "str", "lambda"]),
    "residual of a side is None": (lambda: boundary("x", None), ["boundary(None)", "lambda"]),
    # Periodic coordinates
    "side of a periodic coordinate": (
        lambda: problem({"wall": boundary("x", lambda u: u)}, TORUS),
        ["'wall'", "boundary('x')", "x is declared periodic", "leave it out", "(-1, 3)"],
    ),
    "one side of a periodic coordinate": (
        lambda: problem({"wall": boundary("x", lambda u: u, at=-1)}, TORUS),
        ["'wall'", "boundary('x')", "x is declared periodic"],
    ),
    "boundary where all space is periodic": (
        lambda: problem({"wall": boundary(lambda u: u)}, TORUS),
        ["'wall'", "boundary()", "x periodic", "needs no boundary condition", "leave it out"],
    ),
    "start of a periodic time": (
        lambda: problem({"start": initial(lambda u: u)}, {"t": periodic(0, 2), "x": (0, 1)}),
        ["'start'", "initial()", "t is periodic", "no beginning", "(lower, upper)"],
    ),
    "end of a periodic time": (
        lambda: problem({"end": boundary("t", lambda u: u, at=2)}, {"t": periodic(0, 2)}),
        ["'end'", "boundary('t')", "t is declared periodic"],
    ),
    "soft condition on a periodic coordinate": (
        lambda: problem({"same": periodic_sides("x")}, TORUS),
        ["'same'", "periodic_sides('x')", "x is declared periodic", "no condition is needed"],
    ),
    "soft condition on an unknown coordinate": (
        lambda: problem({"same": periodic_sides("y")}),
        ["'same'", "periodic_sides('y')", "t, x"],
    ),
    "soft condition of an unknown field": (
        lambda: problem({"same": periodic_sides("x", fields=["u", "v"])}),
        ["'same'", "periodic_sides('x')", "'v'", "fields are u"],
    ),
    "soft condition without coordinate": (
        lambda: periodic_sides(lambda u: u),
        ["periodic_sides(<function", "'x'"],
    ),
    "negative order": (
        lambda: periodic_sides("x", order=-1),
        ["periodic_sides('x', order=-1)", "whole number"],
    ),
    "order as a truth": (lambda: periodic_sides("x", order=True), ["order=True", "whole number"]),
    "order of a half": (lambda: periodic_sides("x", order=0.5), ["order=0.5", "whole number"]),
    "soft condition of a string": (
        lambda: periodic_sides("x", fields="u"),
        ["fields='u'", "['u']", "all fields"],
    ),
    "soft condition of no field": (lambda: periodic_sides("x", fields=[]), ["fields=[]", "['u']"]),
    "soft condition of a number": (lambda: periodic_sides("x", fields=[1]), ["fields=[1]", "'u'"]),
    "reversed period": (
        lambda: problem(coordinates={"x": periodic(2, -1)}),
        ["'x'", "lower end first", "did you mean (-1, 2)?"],
    ),
    # Coordinates
    "no coordinates": (lambda: problem(coordinates={}), ["coordinates", "{'x': (0, 1)}"]),
    "coordinates as a list": (
        lambda: problem(coordinates=["t", "x"]),
        ["coordinates=['t', 'x']", "{'x': (0, 1)}"],
    ),
    "reversed": (
        lambda: problem(coordinates={"t": (0, 1), "x": (2, -1)}),
        ["'x'", "(2, -1)", "lower end first", "did you mean (-1, 2)?"],
    ),
    "empty interval": (
        lambda: problem(coordinates={"t": (0, 1), "x": (3, 3)}),
        ["'x'", "(3, 3)", "longer than zero"],
    ),
    "NaN end": (lambda: problem(coordinates={"x": (0, math.nan)}), ["'x'", "nan", "finite"]),
    "infinite end": (lambda: problem(coordinates={"x": (0, math.inf)}), ["'x'", "inf", "finite"]),
    "huge end": (lambda: problem(coordinates={"x": (0, 10**400)}), ["'x'", "(lower, upper)"]),
    "no interval": (lambda: problem(coordinates={"x": 1.0}), ["'x'", "1.0", "(lower, upper)"]),
    "None": (lambda: problem(coordinates={"x": None}), ["'x'", "None", "(lower, upper)"]),
    "three ends": (
        lambda: problem(coordinates={"x": (0, 1, 2)}),
        ["'x'", "(0, 1, 2)", "(lower, upper)"],
    ),
    "interval as a string": (
        lambda: problem(coordinates={"x": "01"}),
        ["'x'", "'01'", "(lower, upper)"],
    ),
    "ends as words": (
        lambda: problem(coordinates={"x": ("low", "high")}),
        ["'x'", "('low', 'high')", "(lower, upper)"],
    ),
    "unknown time": (lambda: problem(time="tau"), ["time='tau'", "t, x"]),
    "time as a list": (lambda: problem(time=["t"]), ["time=['t']", "t, x"]),
    "ambiguous coordinate": (
        lambda: problem(coordinates={"x": (0, 1), "y": (0, 1), "xy": (0, 1)}),
        ["'xy'", "derivative by x, y", "u.xy", "another name"],
    ),
    # Names
    "coordinate that is no name": (
        lambda: problem(coordinates={"x 1": (0, 1)}),
        ["coordinate 'x 1'", "identifier"],
    ),
    "coordinate that is a number": (
        lambda: problem(coordinates={1: (0, 1)}),
        ["coordinate 1", "identifier"],
    ),
    "field that is a keyword": (
        lambda: problem(fields=["lambda"]),
        ["field 'lambda'", "identifier"],
    ),
    "reserved coordinate": (
        lambda: problem(coordinates={"n": (0, 1)}),
        ["coordinate 'n'", "taken", "laplacian"],
    ),
    "coordinate value": (
        lambda: problem(coordinates={"value": (0, 1)}),
        ["coordinate 'value'", "taken"],
    ),
    "reserved field": (lambda: problem(fields=["normal"]), ["field 'normal'", "taken"]),
    "private field": (lambda: problem(fields=["_u"]), ["field '_u'", "leading underscore"]),
    "field twice": (lambda: problem(fields=["u", "u"]), ["field 'u'", "twice"]),
    "field named as a coordinate": (lambda: problem(fields=["x"]), ["field 'x'", "twice"]),
    "coefficient named as a field": (
        lambda: problem(coefficients={"u": 1.0}),
        ["coefficient 'u'", "twice"],
    ),
    "fields as a string": (lambda: problem(fields="uv"), ["fields='uv'", "['u']"]),
    "no fields": (lambda: problem(fields=[]), ["fields=[]", "['u']"]),
    "fields as a number": (lambda: problem(fields=1), ["fields=1", "['u']"]),
    "fields as a set": (lambda: problem(fields={"u"}), ["fields={'u'}", "['u']"]),
    # Terms
    "no terms": (lambda: problem({}), ["terms", "{'residual': poise.interior("]),
    "terms as a list": (
        lambda: problem([interior(lambda u: u.xx)]),
        ["terms", "{'residual': poise.interior("],
    ),
    "empty list": (lambda: problem({"start": []}), ["'start'", "empty"]),
    "residual not wrapped": (
        lambda: problem({"heat": lambda u: u.xx}),
        ["'heat'", "function", "wrap the residual in poise.interior"],
    ),
    "term is None": (lambda: problem({"heat": None}), ["'heat'", "None", "poise.interior"]),
    "term is a word": (lambda: problem({"heat": "heat"}), ["'heat'", "poise.interior"]),
    "not a condition in a list": (
        lambda: problem({"start": [initial(lambda u: u), 0.5]}),
        ["'start'", "0.5", "poise.interior"],
    ),
    "comma in a term": (
        lambda: problem({"left,right": interior(lambda u: u)}),
        ["'left,right'", "without ,"],
    ),
    "slash in a term": (lambda: problem({"a/b": interior(lambda u: u)}), ["'a/b'", "without"]),
    "term without name": (lambda: problem({"": interior(lambda u: u)}), ["term ''", "plain text"]),
    "term named by a number": (
        lambda: problem({1: interior(lambda u: u)}),
        ["term 1", "plain text"],
    ),
    # Data
    "data as a list": (lambda: data([0.0, 1.0]), ["data(list)", "data({'t': ..."]),
    "data outside": (
        lambda: problem({"sensor": data(MEASURED | {"x": [0.0, 1.5]})}),
        ["'sensor'", "data['x'][1] = 1.5", "x in (0, 1)"],
    ),
    "NaN in data": (
        lambda: problem({"sensor": data(MEASURED | {"u": [1.0, math.nan]})}),
        ["'sensor'", "data['u'][1] is nan", "1 of 2", "leave such points out"],
    ),
    "infinite coordinate": (
        lambda: problem({"sensor": data(MEASURED | {"t": [-math.inf, math.nan]})}),
        ["'sensor'", "data['t'][0] is -inf", "2 of 2"],
    ),
    "unequal lengths": (
        lambda: problem({"sensor": data(MEASURED | {"u": [1.0, 2.0, 3.0]})}),
        ["'sensor'", "'t': 2", "'u': 3", "one length"],
    ),
    "no points": (
        lambda: problem({"sensor": data({"t": [], "x": [], "u": []})}),
        ["'sensor'", "'u': 0", "at least 1"],
    ),
    "two-dimensional data": (
        lambda: problem({"sensor": data(MEASURED | {"u": [[1.0, 2.0]]})}),
        ["'sensor'", "data['u']", "(1, 2)", "one-dimensional"],
    ),
    "one number": (
        lambda: problem({"sensor": data(MEASURED | {"t": 0.0})}),
        ["'sensor'", "data['t']", "shape ()", "one-dimensional"],
    ),
    "ragged data": (
        lambda: problem({"sensor": data(MEASURED | {"u": [[1.0], [1.0, 2.0]]})}),
        ["data['u']", "array of numbers"],
    ),
    "words in data": (
        lambda: problem({"sensor": data(MEASURED | {"u": ["hot", "cold"]})}),
        ["'sensor'", "data['u']", "<U4", "numbers"],
    ),
    "complex data": (
        lambda: problem({"sensor": data(MEASURED | {"u": [1.0, 2j]})}),
        ["'sensor'", "data['u']", "complex128", "real numbers"],
    ),
    "data without a coordinate": (
        lambda: problem({"sensor": data({"t": [0.0], "u": [1.0]})}),
        ["'sensor'", "lacks the coordinate x"],
    ),
    "data with an unknown name": (
        lambda: problem({"sensor": data(MEASURED | {"T": [1.0, 2.0]})}),
        ["'sensor'", "'T'", "t, x, u"],
    ),
    "data without field": (
        lambda: problem({"sensor": data({"t": [0.0], "x": [1.0]})}),
        ["'sensor'", "no field", "fields are u"],
    ),
    # Exact solution
    "exact for an unknown field": (
        lambda: problem(exact={"v": lambda x: x}),
        ["exact['v']", "fields are u"],
    ),
    "exact not callable": (lambda: problem(exact={"u": 1.0}), ["exact['u']", "1.0", "function"]),
    "exact as a function": (
        lambda: problem(exact=lambda t, x: x),
        ["exact=<function", "by field", "{'u': lambda t, x: ...}"],
    ),
    "exact with an unknown argument": (
        lambda: problem(exact={"u": lambda t, y: t}),
        ["exact['u']", "'y'", "t, x"],
    ),
    "exact with *args": (lambda: problem(exact={"u": lambda *a: 1.0}), ["exact['u']", "'*a'"]),
    "exact without signature": (lambda: problem(exact={"u": max}), ["exact['u']", "not known"]),
    "exact is NaN": (
        lambda: problem(exact={"u": lambda t, x: jnp.sqrt(x - 0.5)}),
        ["exact['u'] is nan", "t=0, x=0", "finite"],
    ),
    "exact raises": (
        lambda: problem(exact={"u": lambda t, x: math.sin(x)}),
        ["exact['u'] failed", "shape (3,)", "TypeError"],
    ),
    "exact of another shape": (
        lambda: problem(exact={"u": lambda t, x: np.zeros(7)}),
        ["exact['u'] failed", "shape (3,)"],
    ),
    "exact is complex": (
        lambda: problem(exact={"u": lambda t, x: jnp.exp(1j * x)}),
        ["exact['u'] failed", "complex128", "real numbers"],
    ),
    "exact returns None": (
        lambda: problem(exact={"u": lambda t, x: None}),
        ["exact['u'] failed", "real numbers"],
    ),
    # Grid
    "grid of one": (lambda: problem(grid=1), ["grid['t'] = 1", "at least 2"]),
    "grid of a fraction": (lambda: problem(grid=10.5), ["grid['t'] = 10.5", "whole number"]),
    "grid as a truth": (lambda: problem(grid=True), ["grid['t'] = True", "whole number"]),
    "grid as a word": (lambda: problem(grid="fine"), ["grid['t'] = 'fine'", "whole number"]),
    "grid as a list": (lambda: problem(grid=[9, 9]), ["grid['t'] = [9, 9]", "whole number"]),
    "grid lacks a coordinate": (lambda: problem(grid={"t": 9}), ["{'t': 9}", "each of t, x"]),
    "grid of an unknown coordinate": (
        lambda: problem(grid={"t": 9, "x": 9, "y": 9}),
        ["'y': 9", "each of t, x"],
    ),
    # Coefficients
    "coefficient is NaN": (
        lambda: problem(coefficients={"nu": math.nan}),
        ["coefficients['nu']", "nan", "finite initial guess"],
    ),
    "coefficient is a word": (
        lambda: problem(coefficients={"nu": "small"}),
        ["coefficients['nu']", "'small'", "finite initial guess"],
    ),
    "coefficient is an array": (
        lambda: problem(coefficients={"nu": np.ones(2)}),
        ["coefficients['nu']", "finite initial guess"],
    ),
    "coefficients as a list": (
        lambda: problem(coefficients=["nu"]),
        ["coefficients=['nu']", "{'nu': 0.1}"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_a_value_error_that_says_what_is_wrong_and_what_would_be_right(name):
    make, fragments = MISTAKES[name]
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the fragments say what matches
        make()
    message = str(caught.value)
    assert "\n" not in message
    for fragment in fragments:
        assert fragment in message


def test_a_failure_inside_a_residual_keeps_its_traceback():
    with pytest.raises(ValueError, match="heat") as caught:
        heat(raising)
    assert isinstance(caught.value.__cause__, KeyError)


# What holds, and where


def network(x):
    """Two fields with known derivatives: sin of a plane wave, and a polynomial."""
    phase = x @ jnp.arange(1.0, 1 + len(x))
    return jnp.stack([jnp.sin(phase), x[0] ** 2 * x[-1]])


def values(made, points, coefficients=None):
    """Residuals of the term "r", for each of its blocks, at the points (d, N)."""
    samplers = dict.fromkeys(made.terms, poise.points.Uniform(1))
    objective = Objective(made, samplers, jax.random.key(0), np.float64)
    model = Model(network, {n: jnp.asarray(v) for n, v in (coefficients or {}).items()})
    points = jnp.asarray(points, np.float64)
    return objective.term_residuals("r", model, (points,) * len(made.blocks["r"]))


def places(made, term):
    """Lower and upper ends of the patch of every block of a term."""
    return [(block.patch.lower, block.patch.upper) for block in made.blocks[term]]


@pytest.fixture
def points():
    return np.random.default_rng(0).uniform(0, 1, (2, 4))


def test_names_keep_the_order_they_were_given_in():
    made = problem(
        {"z": interior(lambda b: b.x), "a": interior(lambda a: a.t)}, fields=["b", "a", "c"]
    )
    assert made.terms == ("z", "a")
    assert made.fields == ("b", "a", "c")
    assert made.coordinates == ("t", "x")


def test_conditions_hold_where_they_say():
    domain = {"x": (-1, 2), "t": (3, 5), "y": (0, 1)}
    f = lambda u: u  # noqa: E731
    made = problem(
        {
            "inside": interior(f),
            "start": initial(f),
            "all": boundary(f),
            "both": boundary("x", f),
            "one": boundary("x", f, at=2.0),
            "end": boundary("t", f, at=5),
            "begin": boundary("t", f, at=3),
        },
        domain,
    )
    assert places(made, "inside") == [((-1, 3, 0), (2, 5, 1))]
    assert places(made, "start") == [((-1, 3, 0), (2, 3, 1))]
    assert places(made, "all") == [
        ((-1, 3, 0), (-1, 5, 1)),
        ((2, 3, 0), (2, 5, 1)),
        ((-1, 3, 0), (2, 5, 0)),
        ((-1, 3, 1), (2, 5, 1)),
    ]
    assert places(made, "both") == [((-1, 3, 0), (-1, 5, 1)), ((2, 3, 0), (2, 5, 1))]
    assert places(made, "one") == [((2, 3, 0), (2, 5, 1))]
    assert places(made, "end") == [((-1, 5, 0), (2, 5, 1))]
    assert places(made, "begin") == [((-1, 3, 0), (2, 3, 1))]


@pytest.mark.parametrize("end", [np.float32(0.1), 0.1 + 1e-12])
def test_an_end_may_be_rounded(end):
    made = problem(
        {"wall": boundary("x", lambda u: u, at=end)}, coordinates={"t": (0, 1), "x": (0, 0.1)}
    )
    assert places(made, "wall") == [((0, 0.1), (1, 0.1))]


def test_time_may_have_another_name_and_t_may_be_space():
    tau = problem({"start": initial(lambda u: u)}, {"x": (0, 1), "tau": (2, 3)}, time="tau")
    assert tau.time == "tau" and tau.names.spatial == ("x",)
    assert places(tau, "start") == [((0, 2), (1, 2))]
    space = problem({"walls": boundary(lambda u: u.laplacian)}, time=None)
    assert space.time is None and space.names.spatial == ("t", "x")
    assert len(space.blocks["walls"]) == 4
    assert space.blocks["walls"][0].entries == {("u", (0, 0)), ("u", (1, 1))}


def test_a_list_shares_a_weight_and_shares_points_where_it_can(x64, points):
    made = problem(
        {
            "r": [initial(lambda u, x: u - x), initial(lambda u: u.t)],
            "walls": [
                boundary("x", lambda u: u, at=0),
                boundary("x", lambda u: u.x, at=1),
                boundary("x", lambda u: u.t, at=0),
            ],
        }
    )
    assert made.terms == ("r", "walls")
    assert [block.equations for block in made.blocks["r"]] == [2]
    assert [block.equations for block in made.blocks["walls"]] == [2, 1]
    (got,) = values(made, points)
    t, x = points
    np.testing.assert_allclose(got, [np.sin(t + 2 * x) - x, np.cos(t + 2 * x)], rtol=1e-13)


@pytest.mark.parametrize("sequence", [tuple, list])
def test_a_system_returns_several_residuals(sequence, x64, points):
    made = problem(
        {"r": interior(lambda u, v, x: sequence([u.t - v, v.xx + u * x, v.t]))},
        fields=["u", "v"],
    )
    t, x = points
    (got,) = values(made, points)
    u, u_t, v = np.sin(t + 2 * x), np.cos(t + 2 * x), t**2 * x
    np.testing.assert_allclose(got, [u_t - v, u * x, 2 * t * x], rtol=1e-13, atol=1e-13)


def test_a_field_itself_may_be_the_residual(x64, points):
    (got,) = values(problem({"r": interior(lambda u: u)}), points)
    np.testing.assert_allclose(got[0], np.sin(points[0] + 2 * points[1]), rtol=1e-14)


ORDERS = list(itertools.permutations(["u", "t", "x", "nu"]))


@pytest.mark.parametrize("order", ORDERS, ids=" ".join)
def test_arguments_are_filled_in_by_name_in_any_order(order, x64, points):
    names = ", ".join(order)
    residual = eval(f"lambda {names}: u.t + 10 * t + 100 * x + 1000 * nu")
    made = problem({"r": interior(residual)}, coefficients={"nu": 0.5})
    t, x = points
    expected = np.cos(t + 2 * x) + 10 * t + 100 * x + 1000 * 0.25
    (got,) = values(made, points, {"nu": 0.25})
    np.testing.assert_allclose(got[0], expected, rtol=1e-13)


def power_of(k):
    return lambda u, x, k=k: u * x**k


class Scaled:
    def __init__(self, k):
        self.k = k

    def __call__(self, u, x):
        return u * x**self.k


@pytest.mark.parametrize(
    "residual",
    [
        power_of(3),
        functools.partial(lambda k, u, x: u * x**k, 3),
        functools.partial(lambda u, x, k: u * x**k, k=3),
        lambda x, *, u: u * x**3,
        Scaled(3),
        Scaled(3).__call__,
    ],
    ids=["default", "partial", "partial by name", "keyword only", "object", "method"],
)
def test_a_residual_may_carry_values_of_its_own(residual, x64, points):
    t, x = points
    (got,) = values(problem({"r": interior(residual)}), points)
    np.testing.assert_allclose(got[0], np.sin(t + 2 * x) * x**3, rtol=1e-13)


def test_an_optional_argument_with_a_name_of_the_problem_is_filled_in(x64, points):
    (got,) = values(problem({"r": interior(lambda u, x=7.0: x + 0 * u)}), points)
    np.testing.assert_allclose(got[0], points[1])


def test_coefficients_are_numbers_of_the_model_and_guesses_of_the_problem(x64, points):
    made = problem(
        {"r": interior(lambda u, nu, c: u.t - nu * u.xx + c)},
        coefficients={"nu": np.float32(0.5), "c": 2},
    )
    assert made.coefficients == {"nu": 0.5, "c": 2.0}
    t, x = points
    (got,) = values(made, points, {"nu": 0.1, "c": -1.0})
    expected = np.cos(t + 2 * x) + 0.1 * 4 * np.sin(t + 2 * x) - 1.0
    np.testing.assert_allclose(got[0], expected, rtol=1e-13)


# Sides and their normals

SIDES = {("x", -1): (-1.0, 0.0), ("x", 1): (1.0, 0.0), ("y", -1): (0.0, -1.0), ("y", 1): (0.0, 1.0)}


def test_the_normal_points_outward_on_every_side(x64):
    made = problem(
        {"r": boundary(lambda u, normal: (normal[0] + 0 * u, normal[1]))}, coordinates=TXY
    )
    found = {
        block.patch.normal: tuple(rows[:, 0])
        for block, rows in zip(made.blocks["r"], values(made, np.full((3, 1), 0.5)), strict=True)
    }
    assert found == SIDES


def test_n_is_the_normal_times_the_gradient_on_every_side(x64):
    made = problem(
        {"r": boundary(lambda u, normal: (u.n, jnp.dot(normal, u.gradient)))}, coordinates=TXY
    )
    t, x, y = points = np.array([[0.1], [0.7], [2.0]])
    slope = np.cos(t + 2 * x + 3 * y)
    for block, rows in zip(made.blocks["r"], values(made, points), strict=True):
        normal = SIDES[block.patch.normal]
        expected = normal[0] * 2 * slope + normal[1] * 3 * slope
        np.testing.assert_allclose(rows, [expected, expected], rtol=1e-13)
    # Only what is asked for is propagated: no derivative by time.
    assert single((0,)) not in made.blocks["r"][0].operator.streams


def test_n_at_the_end_of_time_is_the_time_derivative(x64, points):
    (got,) = values(problem({"r": boundary("t", lambda u: u.n, at=1)}), points)
    np.testing.assert_allclose(got[0], np.cos(points[0] + 2 * points[1]), rtol=1e-13)


# Data


def test_data_compares_every_measured_field_at_its_points(x64):
    t, x = np.array([[0.0, 0.3, 1.0], [0.2, 1.0, 0.0]])
    measured = {"v": t + x, "x": x, "t": t, "u": np.array([1, 2, 3])}
    made = problem({"r": data(measured)}, fields=["w", "v", "u"])
    (block,) = made.blocks["r"]
    np.testing.assert_array_equal(block.points, [t, x])
    assert block.points.dtype == np.float64 and block.patch is None and block.equations == 2
    wide = lambda p: jnp.stack([p[0], p[0] * p[1], p[1] ** 2])  # noqa: E731
    objective = Objective(made, {}, jax.random.key(0), np.float64)
    (got,) = objective.term_residuals(
        "r", Model(wide, {}), objective.sample(jax.random.key(1))["r"]
    )
    np.testing.assert_allclose(got, [t * x - (t + x), x**2 - [1, 2, 3]], rtol=1e-14)


def test_data_may_measure_one_field_of_several():
    made = problem({"r": data(MEASURED)}, fields=["v", "u"])
    assert made.blocks["r"][0].entries == {("u", ())}


def test_data_on_the_edge_may_be_rounded_to_float32():
    edge = np.linspace(0, 0.1, 3, dtype=np.float32)
    assert float(edge[-1]) > 0.1
    made = problem(
        {"r": data({"t": [0.0, 0.5, 1.0], "x": edge, "u": edge})},
        coordinates={"t": (0, 1), "x": (0, 0.1)},
    )
    assert made.blocks["r"][0].points.shape == (2, 3)


# Exact solution and grid


def test_exact_takes_any_coordinates_and_scores_in_float64():
    made = problem(
        fields=["u", "v", "w", "z"],
        exact={
            "u": lambda x, t: jnp.sin(t) + x,
            "v": lambda: 2.0,
            "w": lambda x, k=3: np.asarray(x, np.float32) ** k,
        },
    )
    points = np.array([[0.1, 0.2], [0.5, 1.0]])
    found = made.exact_values(points)
    assert set(found) == {"u", "v", "w"}
    assert all(array.dtype == np.float64 and array.shape == (2,) for array in found.values())
    np.testing.assert_allclose(found["u"], np.sin(points[0]) + points[1], rtol=1e-15)
    np.testing.assert_array_equal(found["v"], [2.0, 2.0])
    np.testing.assert_allclose(found["w"], points[1] ** 3)


@pytest.mark.parametrize(("dimension", "count"), [(1, 1000), (2, 100), (3, 40), (4, 16), (5, 10)])
def test_the_grid_has_a_default_for_every_dimension(dimension, count):
    made = problem({"r": interior(lambda u: u)}, {f"x{i}": (0, 1) for i in range(dimension)})
    assert made.grid == {f"x{i}": count for i in range(dimension)}


@pytest.mark.parametrize("grid", [{"x": 3, "t": np.int64(2)}, {"t": 2, "x": 3}])
def test_grid_points_include_the_ends_and_run_fastest_in_the_last_coordinate(grid):
    made = problem(coordinates={"t": (0, 1), "x": (-1, 3)}, grid=grid)
    axes, points = made.grid_points()
    np.testing.assert_array_equal(axes["t"], [0, 1])
    np.testing.assert_array_equal(axes["x"], [-1, 1, 3])
    np.testing.assert_array_equal(points, [[0, 0, 0, 1, 1, 1], [-1, 1, 3, -1, 1, 3]])
    assert points.dtype == np.float64


def test_the_grid_leaves_out_the_upper_end_of_a_period():
    axes, points = problem(coordinates=TORUS, grid={"t": 2, "x": 4}).grid_points()
    np.testing.assert_array_equal(axes["t"], [0, 1])
    np.testing.assert_array_equal(axes["x"], [-1, 0, 1, 2])
    assert points.shape == (2, 8)


# Periodic coordinates


def test_a_boundary_on_all_sides_skips_periodic_coordinates():
    made = problem({"wall": boundary(lambda u: u)}, {**TORUS, "y": (0, 5)})
    assert [block.patch.normal for block in made.blocks["wall"]] == [("y", -1), ("y", 1)]


def test_data_may_lie_any_number_of_periods_away():
    values = {"t": [0.0, 0.5, 1.0], "x": [7.5, -1.0, 3.0], "u": [1.0, 2.0, 3.0]}
    (block,) = problem({"r": data(values)}, TORUS).blocks["r"]
    np.testing.assert_array_equal(block.points, [[0, 0.5, 1], [-0.5, -1, 3]])


def test_sides_that_agree_are_one_block_with_points_on_the_lower_side():
    made = problem(
        {"same": [periodic_sides("x", order=2, fields=["v"]), periodic_sides("x", order=0)]},
        TXY,
        ["u", "v"],
    )
    (block,) = made.blocks["same"]
    assert block.patch == made.domain.side("x", -1)
    assert block.partner == made.domain.side("x", 1)
    assert block.equations == 3 + 2
    assert block.entries == {("u", ()), ("v", ()), ("v", (1,)), ("v", (1, 1))}


def test_points_opposite_differ_in_the_one_coordinate():
    made = problem({"same": periodic_sides("y")}, TXY)
    points = jnp.array([[0.25, 0.5], [0.0, -1.0], [0.0, 0.0]])
    here, opposite = made.blocks["same"][0].places(points)
    np.testing.assert_array_equal(here, points)
    np.testing.assert_array_equal(opposite, [[0.25, 0.5], [0.0, -1.0], [3.0, 3.0]])
    assert opposite.dtype == points.dtype
    (inside,) = problem().blocks["heat"][0].places(points[:2])
    np.testing.assert_array_equal(inside, points[:2])


def test_one_number_makes_a_square_grid():
    assert problem(grid=np.int32(7)).grid == {"t": 7, "x": 7}
