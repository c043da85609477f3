"""Forward propagation of all derivatives through a network at once (Taylor mode).

The network is traced once, as a function of one point, and its operations are carried out on
*jets*: the value and every wanted derivative together. Three choices make it fast.

- **Points come last.** An array of shape (width,) at one point becomes (width, N). A dense layer
  is then one matrix product W·H with the long axis contiguous, and a derivative stream is no
  more than N further columns: all streams of a layer go through a single product.
- **Zeros are not stored.** Before the first nonlinearity second derivatives are absent.
- **Combinations travel as one.** ∂_tt - ∂_xx obeys the chain rule as a whole: its linear part
  acts on the combination, and only products of lower derivatives are formed per member.
  (For the Laplacian: Li et al., "A computational framework for neural network-based variational
  Monte Carlo with Forward Laplacian", Nature Machine Intelligence 6, 2024.)

Cost: one forward pass over (1 + number of streams)·N columns, and its reverse for the gradient
with respect to parameters. Nested differentiation repeats the pass for each derivative and keeps
intermediate results that nobody asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array, Float

from poise.derivatives.rules import Jet, Value, call_inner, evaluate, rule_for
from poise.derivatives.streams import Stream, closure, single


def propagate(
    network: Callable[[Float[Array, " d"]], Float[Array, " m"]],
    points: Float[Array, "d N"],
    streams: Sequence[Stream],
) -> dict[Stream, Float[Array, "m N"]]:
    """Evaluate a network and derivatives of its outputs at many points.

    Parameters
    ----------
    network
        Function of one point, shape (d,), to the fields there, shape (m,). Any JAX function;
        operations without a rule of their own are differentiated by nested `jax.jvp`.
    points
        Coordinates of the points, one point a column. The dtype is kept.
    streams
        Derivatives or fixed linear combinations of them; see `poise.derivatives.streams`.

    Returns
    -------
    dict
        The value under `single(())` and every one of `streams`, and what they needed on the
        way. Exact up to rounding.
    """
    dimension, count = points.shape
    wanted = closure(streams)
    traced = jax.make_jaxpr(network)(jax.ShapeDtypeStruct((dimension,), points.dtype))
    parts: dict[Stream, Array] = {}
    for stream in wanted:
        slope = [0.0] * dimension
        for alpha, coefficient in stream:
            if len(alpha) == 1:
                slope[alpha[0]] += coefficient
        if any(slope):
            column = jnp.asarray(slope, points.dtype)[:, None]
            parts[stream] = jnp.broadcast_to(column, points.shape)
    (output,) = _interpret(traced.jaxpr, traced.consts, [Jet(points, parts)], wanted)
    if not isinstance(output, Jet):  # the network ignores its input
        output = Jet(jnp.broadcast_to(output[..., None], (*output.shape, count)), {})
    zero = jnp.zeros_like(output.value)
    return {single(()): output.value, **{s: output.parts.get(s, zero) for s in wanted}}


def _interpret(
    jaxpr: Any, consts: Sequence[Any], arguments: Sequence[Value], streams: tuple[Stream, ...]
) -> list[Value]:
    """Carry out a traced function on jets, one operation after the other."""
    environment: dict[Any, Value] = {}
    environment.update(zip(jaxpr.constvars, consts, strict=True))
    environment.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Value:
        return atom.val if isinstance(atom, core.Literal) else environment[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        inner = call_inner(equation)
        if not any(isinstance(item, Jet) for item in inputs):
            outputs = evaluate(equation, inputs)
        elif inner is not None:
            outputs = _interpret(inner.jaxpr, inner.consts, inputs, streams)
        else:
            outputs = rule_for(equation)(equation, inputs, streams)
        environment.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]
