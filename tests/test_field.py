"""A field behaves as its value; its derivatives are attributes."""

import itertools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from poise.derivatives import Field, requested

VALUES = np.array([0.5, -1.25, 2.0])
KINDS = {"numpy": np.asarray, "jax": jnp.asarray}

pytestmark = pytest.mark.usefixtures("x64")


def entry(alpha):
    """A number that tells every multi-index from every other."""
    return 100.0 + sum((axis + 1) * 10.0**place for place, axis in enumerate(alpha))


def field(kind="numpy", coordinates=("t", "x", "y"), spatial=("x", "y"), normal=None, name="u"):
    def lookup(alpha):
        return KINDS[kind](VALUES if alpha == () else VALUES * entry(alpha))

    return Field(name, coordinates, spatial, lookup, normal)


def scalar(value):
    return Field("u", ["x"], ["x"], lambda alpha: value)


# Arithmetic

BINARY = [
    *(operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv),
    *(operator.mod, operator.pow, operator.lt, operator.le, operator.gt, operator.ge),
    *(operator.eq, operator.ne),
]
OTHERS = {
    "integer": 2,
    "float": 2.5,
    "numpy scalar": np.float64(1.5),
    "numpy array": np.array([2.0, 3.0, 0.5]),
    "jax array": jnp.array([2.0, 3.0, 0.5]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("operation", BINARY, ids=lambda f: f.__name__)
def test_operators_act_on_the_value_from_both_sides(operation, other, kind):
    u, other = field(kind), OTHERS[other]
    # A negative number to a power that is no integer is NaN, on either path.
    with np.errstate(invalid="ignore"):
        left, right = operation(u, other), operation(other, u)
        expected = operation(u.value, other), operation(other, u.value)
    for got, wanted in zip((left, right), expected, strict=True):
        assert not isinstance(got, Field)
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("operation", BINARY, ids=lambda f: f.__name__)
def test_operators_act_on_two_fields(operation, kind):
    u, v = field(kind), field(kind, name="v")
    with np.errstate(invalid="ignore"):
        got, wanted = operation(u, v), operation(u.value, v.value)
    assert not isinstance(got, Field)
    np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_signs_and_matrix_products_act_on_the_value(kind):
    u, matrix = field(kind), np.arange(9.0).reshape(3, 3)
    np.testing.assert_array_equal(-u, -VALUES)
    np.testing.assert_array_equal(+u, VALUES)
    np.testing.assert_array_equal(abs(u), abs(VALUES))
    np.testing.assert_allclose(matrix @ u, matrix @ VALUES)
    np.testing.assert_allclose(u @ matrix, VALUES @ matrix)
    np.testing.assert_allclose(u @ u, VALUES @ VALUES)


def test_adding_in_place_gives_an_array_and_leaves_the_field():
    u = first = field()
    u += 1
    np.testing.assert_array_equal(u, VALUES + 1)
    np.testing.assert_array_equal(first.value, VALUES)


# Functions

FUNCTIONS = {
    "sin": lambda xp, u: xp.sin(u),
    "exp": lambda xp, u: xp.exp(u),
    "absolute": lambda xp, u: xp.absolute(u),
    "maximum": lambda xp, u: xp.maximum(u, 0.25),
    "maximum from the left": lambda xp, u: xp.maximum(0.25, u),
    "where": lambda xp, u: xp.where(u > 0, u, -1.0),
    "arctan2": lambda xp, u: xp.arctan2(u, u + 3),
    "power": lambda xp, u: xp.power(u, 3),
    "clip": lambda xp, u: xp.clip(u, -1, 1),
    "sum": lambda xp, u: xp.sum(u),
    "stack": lambda xp, u: xp.stack([u, u * 2]),
    "concatenate": lambda xp, u: xp.concatenate([u, u]),
    "dot": lambda xp, u: xp.dot(u, u),
    "norm": lambda xp, u: xp.linalg.norm(u),
    "zeros_like": lambda xp, u: xp.zeros_like(u),
    "asarray": lambda xp, u: xp.asarray(u),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("kind", "module"), [("numpy", np), ("jax", jnp), ("numpy", jnp)], ids=["np", "jnp", "mixed"]
)
def test_functions_take_a_field_as_its_value(name, kind, module):
    got = FUNCTIONS[name](module, field(kind))
    np.testing.assert_allclose(got, FUNCTIONS[name](np, VALUES), rtol=1e-15)


@pytest.mark.parametrize(
    "function",
    [
        np.sin,
        np.exp,
        np.square,
        lambda u: np.float64(2) * u,
        lambda u: u**2 + np.abs(u),
        lambda u: np.maximum(u, 0.0),
        lambda u: jnp.sin(u) * jnp.where(u > 0, u, 1.0),
        jax.nn.relu,
        jax.nn.softplus,
        lambda u: jax.lax.cond(u > 0, lambda v: 2 * v, lambda v: -v, u),
        jax.jit(lambda u: u * u + jnp.tanh(u)),
    ],
)
def test_functions_of_a_traced_field_equal_those_of_its_value(function):
    traced = jax.jit(lambda value: function(scalar(value)))
    for number in (-0.75, 1.5):
        np.testing.assert_allclose(traced(number), function(jnp.asarray(number)), rtol=1e-15)


def test_gradient_through_a_field_is_that_through_its_value():
    slope = jax.grad(lambda value: jnp.sin(scalar(value)) * scalar(value))(0.7)
    np.testing.assert_allclose(slope, np.cos(0.7) * 0.7 + np.sin(0.7), rtol=1e-14)


def test_a_numpy_function_that_cannot_be_traced_is_a_type_error():
    with pytest.raises(TypeError, match=r"numpy\.add .* use jax\.numpy"):
        np.add(field("jax"), 1.0, where=np.array([True, False, True]))


def test_derivatives_do_not_enter_a_function_compiled_on_its_own():
    with pytest.raises(ValueError, match=r"u\.d\('x', 'x'\).*take the derivative outside"):
        jax.jit(lambda u: u.xx)(field("jax"))


# As a container


@pytest.mark.parametrize("kind", KINDS)
def test_indexing_length_shape_and_iteration_are_those_of_the_value(kind):
    u = field(kind)
    assert len(u) == 3 and u.shape == (3,) and u.ndim == 1
    assert u[1] == VALUES[1]
    np.testing.assert_array_equal(u[1:], VALUES[1:])
    np.testing.assert_array_equal(u[None, ::-1], VALUES[None, ::-1])
    assert [float(number) for number in u] == list(VALUES)


def test_a_field_at_one_point_converts_to_a_number():
    u = scalar(np.float64(2.5))
    assert float(u) == 2.5 and int(u) == 2 and bool(u)
    assert not bool(scalar(np.float64(0.0)))


@pytest.mark.parametrize("convert", [np.float64, jnp.asarray], ids=KINDS)
def test_a_field_at_one_point_cannot_be_iterated(convert):
    # By indexing alone sum(u) would be 0 and no error.
    with pytest.raises(TypeError, match=r"0-d array|not iterable"):
        sum(scalar(convert(2.5)))


def test_a_traced_field_has_no_truth_value():
    with pytest.raises(jax.errors.TracerBoolConversionError):
        jax.jit(lambda value: 1 if scalar(value) else 0)(1.0)


def test_values_and_derivatives_of_numpy_arrays_stay_float64_numpy_arrays():
    with jax.enable_x64(False):  # as in a process that only predicts
        u = field()
        found = [u.value, u.x, u.xy, u.laplacian, u.gradient, 2 * u, np.sin(u), u - u.xx]
        found += [np.asarray(u), u.d("y"), np.float32(2) * u]
    assert u.dtype == np.float64
    for array in found:
        assert isinstance(array, np.ndarray) and array.dtype == np.float64


def test_numpy_asarray_converts_to_a_dtype():
    assert np.asarray(field(), dtype=np.float32).dtype == np.float32


def test_repr_names_the_field_and_its_value():
    assert repr(scalar(1.5)) == "Field(u, 1.5)"


# Derivatives


@pytest.mark.parametrize("letters", ["t", "x", "tx", "yx", "tt", "ytx", "xxy", "txyt"])
def test_derivative_attributes_do_not_depend_on_the_order_of_letters(letters):
    u = field()
    expected = VALUES * entry(sorted("txy".index(letter) for letter in letters))
    for shuffled in set(itertools.permutations(letters)):
        np.testing.assert_array_equal(getattr(u, "".join(shuffled)), expected)
        np.testing.assert_array_equal(u.d(*shuffled), expected)


def test_coordinates_with_long_names():
    u = field(coordinates=("t", "r", "theta"), spatial=("r", "theta"))
    np.testing.assert_array_equal(u.theta, VALUES * entry([2]))
    np.testing.assert_array_equal(u.d("theta", "theta"), VALUES * entry([2, 2]))
    np.testing.assert_array_equal(u.d("theta", "r"), VALUES * entry([1, 2]))
    np.testing.assert_array_equal(u.rt, VALUES * entry([0, 1]))
    np.testing.assert_array_equal(
        u.laplacian, VALUES * entry([1, 1]) + VALUES * entry([2, 2])
    )  # a sum of second derivatives, whatever the names say


@pytest.mark.parametrize("kind", KINDS)
def test_laplacian_and_gradient_go_over_space_alone(kind):
    u = field(kind)
    np.testing.assert_allclose(u.laplacian, VALUES * (entry([1, 1]) + entry([2, 2])))
    np.testing.assert_array_equal(u.gradient, [VALUES * entry([1]), VALUES * entry([2])])


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("name", "axis"), [("x", 1), ("y", 2)])
def test_n_is_the_derivative_along_the_outward_normal(name, axis, sign):
    u = field(normal=(name, sign))
    np.testing.assert_array_equal(u.n, sign * VALUES * entry([axis]))


@pytest.mark.parametrize(
    ("ask", "error", "fragments"),
    [
        (lambda u: u.z, AttributeError, ["u.z", "t, x, y", "u.d("]),
        (lambda u: u.xz, AttributeError, ["u.xz", "t, x, y"]),
        (lambda u: u.mean(), AttributeError, ["u.mean", "t, x, y"]),
        (lambda u: u.d("z"), ValueError, ["u.d('z')", "t, x, y"]),
        (lambda u: u.d("xx"), ValueError, ["u.d('xx')", "t, x, y"]),
        (lambda u: u.d(), ValueError, ["u.d()", "t, x, y"]),
        (lambda u: u.n, ValueError, ["u.n", "boundary()"]),
    ],
)
def test_an_unknown_derivative_is_an_error_that_lists_the_coordinates(ask, error, fragments):
    with pytest.raises(error) as caught:
        ask(field())
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize("name", ["laplacian", "gradient"])
def test_without_space_there_is_no_laplacian_and_no_gradient(name):
    with pytest.raises(ValueError, match=f"p.{name} .*spatial.*coordinates are t "):
        getattr(field(coordinates=("t",), spatial=(), name="p"), name)


def test_protocol_names_are_no_derivatives():
    assert not hasattr(field(), "__cuda_array_interface__")
    assert not hasattr(field(coordinates=("_",)), "_")


def test_a_field_cannot_be_hashed():
    with pytest.raises(TypeError, match="unhashable"):
        {field()}


# Requests


def test_requested_finds_what_a_function_asks_for_and_no_more():
    def evaluate(fields, number):
        u, v = fields["u"], fields["v"]
        return u.tx + u.xt * v.laplacian + number, jnp.sin(v)

    def build(name, lookup):
        return Field(name, ("t", "x", "y"), ("x", "y"), lookup)

    found = requested(["u", "v", "w"], build, evaluate)
    assert found == {"u": {(0, 1)}, "v": {(1, 1), (2, 2), ()}, "w": frozenset()}
