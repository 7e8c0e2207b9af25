"""Annotations are checked while tests run: shapes by jaxtyping, all others by beartype alone, which is quicker.

The import hook of jaxtyping itself decorates also what is defined inside of functions, anew whenever these are called,
and has whatever its modules import compiled anew: tests took twice as long with it.
"""

import ast
import inspect
import sys
from collections.abc import Iterable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType
from typing import Any, get_args, get_type_hints

from beartype import beartype
from jaxtyping import AbstractArray, jaxtyped

NAME = "_checked"


def check(modules: Iterable[str]) -> None:
    """Check the annotations of functions, methods and dataclasses in modules that are imported from now on."""
    sys.meta_path.insert(0, _Finder(frozenset(modules)))


def checked(made: Any) -> Any:
    """Decorate a function or a class as its annotations need it."""
    if inspect.isclass(made):
        if "__dataclass_fields__" in vars(made) and inspect.isfunction(init := vars(made).get("__init__")):
            made.__init__ = checked(init)
        return made
    hints = {name: _resolved(hint, made.__globals__) for name, hint in made.__annotations__.items()}
    if any(map(_names_shapes, hints.values())):
        return jaxtyped(made, typechecker=beartype)
    made.__annotations__ = hints
    return beartype(made)


def _resolved(hint: Any, names: dict[str, Any]) -> Any:
    """What an annotation stands for; anything, if it names what is imported for type checkers only."""

    def of(value: hint) -> None: ...

    try:
        return get_type_hints(of, names, include_extras=True)["value"]
    except (NameError, TypeError):
        return Any


def _names_shapes(hint: Any) -> bool:
    found: bool = inspect.isclass(hint) and issubclass(hint, AbstractArray)
    return found or any(map(_names_shapes, get_args(hint)))


class _Decorating(ast.NodeTransformer):
    """Decorates classes, and functions that stand in no other function."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        node.decorator_list.append(ast.copy_location(ast.Name(NAME, ast.Load()), node))
        return node

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.generic_visit(node)
        node.decorator_list.insert(0, ast.copy_location(ast.Name(NAME, ast.Load()), node))
        return node


class _Loader(SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        """From the source each time, so that compiled files stay those of the plain module."""
        path = self.get_filename(fullname)
        tree = ast.parse(self.get_data(path), path)
        return compile(_Decorating().visit(tree), path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        vars(module)[NAME] = checked
        super().exec_module(module)


class _Finder(MetaPathFinder):
    def __init__(self, modules: frozenset[str]) -> None:
        self.modules = modules

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if fullname not in self.modules:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin)
        return spec
