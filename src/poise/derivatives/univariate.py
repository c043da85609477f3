"""Functions of one variable applied entry by entry, and the chain rule for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from poise.derivatives.streams import Stream, faa_di_bruno, single

Tower = Callable[[Any, Array, int], list[Array]]
"""(operation, z, order) -> [φ(z), φ'(z), ..., φ^(order)(z)]"""


def compose(
    tower: Tower,
    equation: Any,
    value: Array,
    parts: dict[Stream, Array],
    streams: tuple[Stream, ...],
) -> tuple[Array, dict[Stream, Array]]:
    """Value and streams of φ(z), by Faà di Bruno's formula.

    A stream Σ c_α ∂^α obeys φ'(z) · (Σ c_α ∂^α z) plus products of lower derivatives of z, which
    are formed for each α of its own.
    """
    terms: dict[Stream, list[tuple[int, Array, float]]] = {}
    for stream in streams:
        found: list[tuple[int, Array, float]] = []
        if stream in parts:
            found.append((1, parts[stream], 1.0))
        for alpha, coefficient in stream:
            for count, blocks in faa_di_bruno(alpha):
                factors = [parts.get(single(block)) for block in blocks]
                if all(factor is not None for factor in factors):
                    found.append((len(blocks), _multiply(factors), coefficient * count))
        if found:
            terms[stream] = found
    order = max((power for found in terms.values() for power, _, _ in found), default=0)
    derivatives = tower(equation, value, order)
    out: dict[Stream, Array] = {}
    for stream, found in terms.items():
        by_power: dict[int, Array] = {}
        for power, factor, number in found:
            term = factor if number == 1.0 else number * factor
            by_power[power] = by_power[power] + term if power in by_power else term
        products = [derivatives[power] * total for power, total in by_power.items()]
        out[stream] = sum(products[1:], start=products[0])
    return derivatives[0], out


def _multiply(factors: list[Any]) -> Array:
    product = factors[0]
    for factor in factors[1:]:
        product = product * factor
    return product


def _differentiated(function: Callable[[Any, Array], Array]) -> Tower:
    """The tower of any elementwise function, by differentiating it again and again."""

    def tower(equation: Any, z: Array, order: int) -> list[Array]:
        functions = [lambda x: function(equation, x)]
        for _ in range(order):
            last = functions[-1]
            functions.append(lambda x, f=last: jax.jvp(f, (x,), (jnp.ones_like(x),))[1])
        return [f(z) for f in functions]

    return tower


def _algebraic(function: Callable[[Array], Array], slope: list[float]) -> Tower:
    """The tower of a function whose derivative is a polynomial of its own value.

    With y = φ(z) and φ' = s(y), each further derivative of a polynomial p(y) is p'(y)·s(y): one
    evaluation of φ, then multiplications.
    """
    slope_polynomial = np.polynomial.Polynomial(slope)

    def tower(equation: Any, z: Array, order: int) -> list[Array]:
        y = function(z)
        out, polynomial = [y], np.polynomial.Polynomial([0.0, 1.0])
        for _ in range(order):
            polynomial = polynomial.deriv() * slope_polynomial
            coefficients = [float(c) for c in polynomial.coef]
            total = jnp.full_like(y, coefficients[-1])
            for coefficient in reversed(coefficients[:-1]):
                total = total * y + coefficient if coefficient else total * y
            out.append(total)
        return out

    return tower


def _sine(phase: int) -> Tower:
    """sin and cos: each derivative is the other, with alternating signs."""

    def tower(equation: Any, z: Array, order: int) -> list[Array]:
        cycle = [jnp.sin(z), jnp.cos(z)] if order or not phase else [None, jnp.cos(z)]
        signs = (1.0, 1.0, -1.0, -1.0)
        out = []
        for k in range(phase, phase + order + 1):
            entry = cycle[k % 2]
            out.append(entry if signs[k % 4] > 0 else -entry)
        return out

    return tower


def _exponential(equation: Any, z: Array, order: int) -> list[Array]:
    return [jnp.exp(z)] * (order + 1)


def _bound(equation: Any, z: Array) -> Array:
    """The operation itself, as traced."""
    return equation.primitive.bind(z, **equation.params)


def power(exponent: Array) -> Tower:
    """The tower of z^exponent."""
    return _differentiated(lambda equation, z: jnp.power(z, exponent))


RECIPROCAL: Tower = _differentiated(lambda equation, z: 1.0 / z)

_BY_DIFFERENTIATION = (
    *("abs", "acos", "acosh", "asin", "asinh", "atan", "atanh", "cbrt", "cosh", "digamma"),
    *("erf", "erf_inv", "erfc", "exp2", "expm1", "integer_pow", "lgamma", "log", "log1p"),
    *("rsqrt", "sign", "sinh", "sqrt", "square", "tan"),
)

TOWERS: dict[str, Tower] = {
    "tanh": _algebraic(jnp.tanh, [1.0, 0.0, -1.0]),
    "logistic": _algebraic(jax.nn.sigmoid, [0.0, 1.0, -1.0]),
    "sin": _sine(0),
    "cos": _sine(1),
    "exp": _exponential,
    **dict.fromkeys(_BY_DIFFERENTIATION, _differentiated(_bound)),
}
