"""A field as a residual sees it: its value, with derivatives as attributes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from poise.derivatives.streams import MultiIndex

Values = Any
"""A JAX array while a residual is traced, a NumPy array or number in a prediction."""

RESERVED = frozenset(
    {"value", "d", "n", "normal", "gradient", "laplacian", "shape", "dtype", "ndim"}
)
"""Attributes of a field that no coordinate may be named after."""


class Field:
    """An unknown of the problem at a point, or at many.

    Behaves as its value in arithmetic and in `jax.numpy` functions. Derivatives are attributes
    made of coordinate names: ``u.t``, ``u.xx``, ``u.txx``; `d` spells out longer names;
    `gradient` and `laplacian` go over the spatial coordinates; `n` is the derivative along the
    outward normal, on a boundary.

    Parameters
    ----------
    name
        The field's name, for messages.
    coordinates
        All coordinates, in the order of the problem.
    spatial
        Those of them that are not time.
    lookup
        Gives the array for a multi-index; ``()`` is the value.
    normal
        Side of a box as (coordinate, ±1) where the field stands on a boundary.
    """

    __slots__ = ("_coordinates", "_lookup", "_name", "_normal", "_spatial")

    def __init__(
        self,
        name: str,
        coordinates: Sequence[str],
        spatial: Sequence[str],
        lookup: Callable[[MultiIndex], Values],
        normal: tuple[str, int] | None = None,
    ) -> None:
        self._name = name
        self._coordinates = tuple(coordinates)
        self._spatial = tuple(spatial)
        self._lookup = lookup
        self._normal = normal

    @property
    def value(self) -> Values:
        """The field itself, as an array."""
        return self._lookup(())

    def d(self, *names: str) -> Values:
        """The derivative by the named coordinates, in any order: ``u.d("theta", "theta")``."""
        if not names:
            raise ValueError(f"{self._name}.d() names no coordinate; {self._choices()}")
        for name in names:
            if name not in self._coordinates:
                raise ValueError(f"{self._name}.d({name!r}): no such coordinate; {self._choices()}")
        return self._lookup(tuple(sorted(self._coordinates.index(name) for name in names)))

    @property
    def gradient(self) -> Values:
        """First derivatives by the spatial coordinates, stacked in the first axis."""
        parts = [self.d(name) for name in self._in_space("gradient")]
        stack = np.stack if _is_numpy(parts[0]) else jnp.stack
        return stack(parts)

    @property
    def laplacian(self) -> Values:
        """Sum of the second derivatives by the spatial coordinates."""
        second = [self.d(name, name) for name in self._in_space("laplacian")]
        return sum(second[1:], start=second[0])

    @property
    def n(self) -> Values:
        """The derivative along the outward normal of the boundary."""
        if self._normal is None:
            # AttributeError would be lost on callers that probe attributes: this is a mistake.
            raise ValueError(f"{self._name}.n is the normal derivative: only boundary() has one")
        name, sign = self._normal
        return sign * self.d(name)

    def __getattr__(self, attribute: str) -> Values:
        if attribute.startswith("_"):
            raise AttributeError(attribute)
        if attribute in self._coordinates:
            return self.d(attribute)
        if attribute and all(letter in self._coordinates for letter in attribute):
            return self.d(*attribute)
        raise AttributeError(f"{self._name}.{attribute} is not a derivative; {self._choices()}")

    def _in_space(self, what: str) -> tuple[str, ...]:
        if not self._spatial:
            raise ValueError(
                f"{self._name}.{what} goes over the spatial coordinates, and there is none; "
                f"{self._choices()}"
            )
        return self._spatial

    def _choices(self) -> str:
        names = ", ".join(self._coordinates)
        long = f"{self._name}.d('name', ...) for names longer than a letter"
        return f"the coordinates are {names} ({long})"

    # A field stands for its value wherever an array may stand.

    def __jax_array__(self) -> Values:
        return self.value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.value, dtype=dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Values:
        # numpy.sin(u) and numpy.float64(2) * u come here: the same function of jax.numpy
        # can be traced where numpy's cannot.
        values = [_plain(item) for item in inputs]
        if _is_numpy(self.value):
            return getattr(ufunc, method)(*values, **options)
        twin = getattr(jnp, ufunc.__name__, None)
        if method != "__call__" or options or twin is None:
            raise TypeError(f"numpy.{ufunc.__name__} cannot take a field; use jax.numpy")
        return twin(*values)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return self.value.ndim

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    def __bool__(self) -> bool:
        return bool(self.value)

    def __int__(self) -> int:
        return int(self.value)

    def __float__(self) -> float:
        return float(self.value)

    def __format__(self, specification: str) -> str:
        return format(self.value, specification)

    def __len__(self) -> int:
        return len(self.value)

    def __iter__(self) -> Iterator[Values]:
        return iter(self.value)

    def __getitem__(self, index: Any) -> Values:
        return self.value[index]

    def __repr__(self) -> str:
        return f"Field({self._name}, {self.value!r})"

    __hash__ = None  # type: ignore[assignment]  # as an array


def _plain(item: Any) -> Any:
    return item.value if isinstance(item, Field) else item


def _is_numpy(value: Any) -> bool:
    return isinstance(value, np.ndarray | np.generic)


def _forward(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, *others: function(self.value, *map(_plain, others))


def _backward(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: function(_plain(other), self.value)


for _name in ("neg", "pos", "abs", "lt", "le", "gt", "ge", "eq", "ne"):
    setattr(Field, f"__{_name}__", _forward(getattr(operator, _name)))
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul"):
    setattr(Field, f"__{_name}__", _forward(getattr(operator, _name)))
    setattr(Field, f"__r{_name}__", _backward(getattr(operator, _name)))


def _flatten(field: Field) -> tuple[tuple[Values], tuple[Any, ...]]:
    return (field.value,), (field._name, field._coordinates, field._spatial, field._normal)


def _unflatten(rest: tuple[Any, ...], children: Sequence[Values]) -> Field:
    name, coordinates, spatial, normal = rest
    (value,) = children

    def lookup(alpha: MultiIndex) -> Values:
        if alpha:
            letters = ", ".join(repr(coordinates[axis]) for axis in alpha)
            raise ValueError(
                f"{name}.d({letters}) inside a function of its own (jit, cond, ...): only the "
                "value of a field travels there; take the derivative outside"
            )
        return value

    return Field(name, coordinates, spatial, lookup, normal)


# Functions of jax.numpy are compiled ones: arguments enter them as leaves of a tree.
jax.tree_util.register_pytree_node(Field, _flatten, _unflatten)


def requested(
    names: Sequence[str],
    build: Callable[[str, Callable[[MultiIndex], Array]], Field],
    evaluate: Callable[[dict[str, Field], Array], Any],
) -> dict[str, frozenset[MultiIndex]]:
    """Which derivatives of which field a function asks for, found by running it on recorders.

    Parameters
    ----------
    names
        The fields.
    build
        Makes the field of a name from its lookup.
    evaluate
        The function, given the recording fields and a scalar that stands for any number. It is
        traced with that scalar abstract, so that a branch on a field's value fails here, before
        training, and not there.

    Returns
    -------
    dict
        For each field the multi-indices asked for; the empty one is the value.
    """
    seen: dict[str, set[MultiIndex]] = {name: set() for name in names}

    def run(number: Array) -> Any:
        def recorder(name: str) -> Callable[[MultiIndex], Array]:
            def lookup(alpha: MultiIndex) -> Array:
                seen[name].add(alpha)
                return number

            return lookup

        return evaluate({name: build(name, recorder(name)) for name in names}, number)

    jax.eval_shape(run, jax.ShapeDtypeStruct((), jnp.result_type(float)))
    return {name: frozenset(found) for name, found in seen.items()}
