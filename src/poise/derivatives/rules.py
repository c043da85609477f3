"""How each operation acts on a jet: the value at N points and its derivative streams.

Arrays carry the points in their last axis. A value that is the same at every point (a weight, a
literal) is a plain array without that axis. A stream that a jet does not hold is zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend import core
from jaxtyping import Array

from poise.derivatives.streams import Stream, below, leibniz, single
from poise.derivatives.univariate import RECIPROCAL, TOWERS, compose, power


class Jet(NamedTuple):
    """A value at N points with its derivative streams, each of shape (*shape, N)."""

    value: Array
    parts: dict[Stream, Array]


Value = Any  # a Jet, or an array that is the same at every point
Rule = Callable[[Any, Sequence[Value], tuple[Stream, ...]], list[Value]]


def rule_for(equation: Any) -> Rule:
    """The rule of an operation; nested differentiation where none is written here.

    Complex numbers are left to it too: |z| and the like have no derivative by z.
    """
    name = equation.primitive.name
    dtypes = [atom.aval.dtype for atom in (*equation.invars, *equation.outvars)]
    if any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in dtypes):
        return _nested
    if name in TOWERS:
        return _elementwise
    return _RULES.get(name, _nested)


def evaluate(equation: Any, inputs: Sequence[Any]) -> list[Any]:
    """Carry out one operation on plain arrays."""
    return list(_as_function(equation)(*inputs))


def call_inner(equation: Any) -> core.ClosedJaxpr | None:
    """The function inside a call, to be interpreted in turn.

    Functions with a derivative rule of their own (`jax.custom_jvp`) are left to nested
    differentiation, which honours that rule.
    """
    if equation.primitive.name not in {"jit", "pjit", "closed_call", "core_call", "checkpoint"}:
        return None
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    return inner if isinstance(inner, core.ClosedJaxpr) else core.ClosedJaxpr(inner, ())


def _as_function(equation: Any) -> Callable[..., Sequence[Any]]:
    """One operation as a function of its operands."""
    primitive = equation.primitive

    def call(*operands: Any) -> Sequence[Any]:
        outputs = primitive.bind(*operands, **primitive.get_bind_params(equation.params))
        return outputs if primitive.multiple_results else [outputs]

    return call


def _pointwise(equation: Any, inputs: Sequence[Value]) -> Callable[..., list[Array]]:
    """The operation on whole arrays, the points (last axis) carried along."""
    axes = [-1 if isinstance(item, Jet) else None for item in inputs]

    def call(*operands: Any) -> list[Array]:
        return list(jax.vmap(_as_function(equation), in_axes=axes, out_axes=-1)(*operands))

    return call


def _values(inputs: Sequence[Value]) -> list[Any]:
    return [item.value if isinstance(item, Jet) else item for item in inputs]


def _lift(constant: Any) -> Any:
    """A constant that broadcasts against arrays with the points in the last axis."""
    constant = jnp.asarray(constant)
    return constant[..., None] if constant.ndim else constant


def _present(streams: tuple[Stream, ...], *jets: Jet) -> list[Stream]:
    return [stream for stream in streams if any(stream in jet.parts for jet in jets)]


def _add(sign: int) -> Rule:
    def rule(equation: Any, inputs: Sequence[Value], streams: tuple[Stream, ...]) -> list[Value]:
        a, b = inputs
        combine = jnp.add if sign > 0 else jnp.subtract
        if not isinstance(b, Jet):
            return [Jet(combine(a.value, _lift(b)), a.parts)]
        signed = b.parts if sign > 0 else {s: -part for s, part in b.parts.items()}
        if not isinstance(a, Jet):
            return [Jet(combine(_lift(a), b.value), signed)]
        both = {s: combine(a.parts[s], b.parts[s]) for s in a.parts if s in b.parts}
        return [Jet(combine(a.value, b.value), {**signed, **a.parts, **both})]

    return rule


def _multiply(equation: Any, inputs: Sequence[Value], streams: tuple[Stream, ...]) -> list[Value]:
    a, b = inputs
    if isinstance(a, Jet) and isinstance(b, Jet):
        return [_product(jnp.multiply, a, b, streams)]
    jet, factor = (a, _lift(b)) if isinstance(a, Jet) else (b, _lift(a))
    return [Jet(jet.value * factor, {s: part * factor for s, part in jet.parts.items()})]


def _divide(equation: Any, inputs: Sequence[Value], streams: tuple[Stream, ...]) -> list[Value]:
    a, b = inputs
    if isinstance(b, Jet):
        inverse = Jet(*compose(RECIPROCAL, equation, b.value, b.parts, streams))
        return _multiply(equation, [a, inverse], streams)
    divisor = _lift(b)
    return [Jet(a.value / divisor, {s: part / divisor for s, part in a.parts.items()})]


def _product(multiply: Callable[..., Array], a: Jet, b: Jet, streams: tuple[Stream, ...]) -> Jet:
    """Leibniz' rule for any bilinear operation."""
    parts: dict[Stream, Array] = {}
    for stream in streams:
        terms = []
        if stream in a.parts:
            terms.append(multiply(a.parts[stream], b.value))
        if stream in b.parts:
            terms.append(multiply(a.value, b.parts[stream]))
        for alpha, coefficient in stream:
            for count, beta, gamma in leibniz(alpha):
                left, right = a.parts.get(single(beta)), b.parts.get(single(gamma))
                if left is not None and right is not None:
                    terms.append(coefficient * count * multiply(left, right))
        if terms:
            parts[stream] = sum(terms[1:], start=terms[0])
    return Jet(multiply(a.value, b.value), parts)


def _dot(equation: Any, inputs: Sequence[Value], streams: tuple[Stream, ...]) -> list[Value]:
    a, b = inputs
    call = _pointwise(equation, inputs)
    if isinstance(a, Jet) and isinstance(b, Jet):
        return [_product(lambda x, y: call(x, y)[0], a, b, streams)]
    jet, weight = (a, b) if isinstance(a, Jet) else (b, a)
    names = _present(streams, jet)
    columns = jnp.concatenate([jet.value, *(jet.parts[s] for s in names)], axis=-1)
    (contract_a, contract_b), (batch, _) = equation.params["dimension_numbers"]
    vector = jet.value.ndim == 2 and contract_a and not batch
    if isinstance(a, Jet) and vector:  # h·W: the same product as Wᵀ·h, which keeps points last
        how = {key: equation.params[key] for key in ("precision", "preferred_element_type")}
        product = jnp.tensordot(weight, columns, axes=(contract_b, contract_a), **how)
    else:
        product = call(columns, b)[0] if isinstance(a, Jet) else call(a, columns)[0]
    value, *parts = jnp.split(product, len(names) + 1, axis=-1)
    return [Jet(value, dict(zip(names, parts, strict=True)))]


def _elementwise(
    equation: Any, inputs: Sequence[Value], streams: tuple[Stream, ...]
) -> list[Value]:
    (jet,) = inputs
    tower = TOWERS[equation.primitive.name]
    return [Jet(*compose(tower, equation, jet.value, jet.parts, streams))]


def _power(equation: Any, inputs: Sequence[Value], streams: tuple[Stream, ...]) -> list[Value]:
    base, exponent = inputs
    if isinstance(exponent, Jet):
        return _nested(equation, inputs, streams)
    fixed = jnp.asarray(_lift(exponent), base.value.dtype)
    return [Jet(*compose(power(fixed), equation, base.value, base.parts, streams))]


def _carried(equation: Any, inputs: Sequence[Value], streams: tuple[Stream, ...]) -> list[Value]:
    """Operations that move or sum entries of their first operand."""
    jet, *others = inputs
    if not isinstance(jet, Jet) or any(isinstance(item, Jet) for item in others):
        return _nested(equation, inputs, streams)
    call = _pointwise(equation, inputs)
    value = call(jet.value, *others)[0]
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return [Jet(value, {})]
    return [Jet(value, {s: call(part, *others)[0] for s, part in jet.parts.items()})]


def _joined(first: int) -> Rule:
    """Operations that choose or join entries of several operands, from operand `first` on."""

    def rule(equation: Any, inputs: Sequence[Value], streams: tuple[Stream, ...]) -> list[Value]:
        fixed, moved = list(inputs[:first]), inputs[first:]
        call = _pointwise(equation, inputs)
        values = _values(inputs)
        jets = [item for item in moved if isinstance(item, Jet)]
        parts = {}
        for stream in _present(streams, *jets):
            operands = [
                item.parts.get(stream, jnp.zeros_like(item.value))
                if isinstance(item, Jet)
                else jnp.zeros_like(item)
                for item in moved
            ]
            parts[stream] = call(*_values(fixed), *operands)[0]
        return [Jet(call(*values)[0], parts)]

    return rule


def _nested(equation: Any, inputs: Sequence[Value], streams: tuple[Stream, ...]) -> list[Value]:
    """Any operation, by nested `jax.jvp`: always right, dearer with the order."""
    call = _pointwise(equation, inputs)
    moving = [i for i, item in enumerate(inputs) if isinstance(item, Jet) and item.parts]
    jets = [inputs[i] for i in moving]
    plain = _values(inputs)

    def of(*operands: Array) -> list[Array]:
        arguments = list(plain)
        for position, operand in zip(moving, operands, strict=True):
            arguments[position] = operand
        return call(*arguments)

    base = [jet.value for jet in jets]
    values = call(*plain)
    parts: list[dict[Stream, Array]] = [{} for _ in values]
    floating = [i for i, value in enumerate(values) if jnp.issubdtype(value.dtype, jnp.inexact)]

    def of_floating(*operands: Array) -> list[Array]:
        outputs = of(*operands)
        return [outputs[i] for i in floating]

    for stream in streams:
        bent = [
            (alpha, coefficient)
            for alpha, coefficient in stream
            if any(single(beta) in jet.parts for jet in jets for beta in below(alpha))
        ]
        if not bent and not any(stream in jet.parts for jet in jets):
            continue
        pushed = [jet.parts.get(stream, jnp.zeros_like(jet.value)) for jet in jets]
        totals = jax.jvp(of_floating, base, pushed)[1]
        for alpha, coefficient in bent:
            mixed = _mixed(of_floating, jets, alpha)
            totals = [t + coefficient * m for t, m in zip(totals, mixed, strict=True)]
        for i, total in zip(floating, totals, strict=True):
            parts[i][stream] = total
    return [Jet(value, part) for value, part in zip(values, parts, strict=True)]


def _mixed(of: Callable[..., list[Array]], jets: Sequence[Jet], alpha: tuple[int, ...]) -> list:
    """∂^α of an operation from the lower streams of its operands alone.

    With one small parameter ε_i for each position of α, the operand is
    z + Σ_S (Π_{i∈S} ε_i) ∂^{α_S} z over proper subsets S; the mixed derivative by all ε at zero
    sums over every partition of α but the one into a single block.
    """
    positions = range(len(alpha))
    subsets = [[i for i in positions if bits >> i & 1] for bits in range(1, (1 << len(alpha)) - 1)]

    def at(epsilons: list[Array]) -> list[Array]:
        operands = []
        for jet in jets:
            total = jet.value
            for subset in subsets:
                part = jet.parts.get(single(tuple(alpha[i] for i in subset)))
                if part is not None:
                    scale = epsilons[subset[0]]
                    for i in subset[1:]:
                        scale = scale * epsilons[i]
                    total = total + scale * part
            operands.append(total)
        return of(*operands)

    dtype = jnp.finfo(jets[0].value.dtype).dtype  # real, where the operand is complex
    zero, one = jnp.zeros((), dtype), jnp.ones((), dtype)

    def differentiate(position: int, epsilons: list[Array]) -> list[Array]:
        if position == len(alpha):
            return at(epsilons)
        return jax.jvp(lambda e: differentiate(position + 1, [*epsilons, e]), (zero,), (one,))[1]

    return differentiate(0, [])


_CARRIED = (
    *("neg", "reshape", "squeeze", "expand_dims", "broadcast_in_dim", "transpose", "slice"),
    *("rev", "reduce_sum", "cumsum", "convert_element_type", "copy", "copy_p", "real"),
    *("dynamic_slice", "gather"),
)

_RULES: dict[str, Rule] = {
    "add": _add(1),
    "add_any": _add(1),
    "sub": _add(-1),
    "mul": _multiply,
    "div": _divide,
    "dot_general": _dot,
    "pow": _power,
    "concatenate": _joined(0),
    "pad": _joined(0),
    "select_n": _joined(1),
    **dict.fromkeys(_CARRIED, _carried),
}
