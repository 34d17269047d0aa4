"""An action's rules: which events it takes, and what it makes of them."""

from connector.mapping.action import (
    DEFAULT_ACTIONS,
    FORMER_DEFAULT,
    CompiledAction,
    can_both_match,
    compile_action,
    compile_where,
    view_of,
)
from connector.mapping.expression import Expression, compile_expression, parse_field_path
from connector.mapping.presets import PRESETS
from connector.mapping.privacy import parse_privacy_path

__all__ = [
    "DEFAULT_ACTIONS",
    "FORMER_DEFAULT",
    "PRESETS",
    "CompiledAction",
    "Expression",
    "can_both_match",
    "compile_action",
    "compile_expression",
    "compile_where",
    "parse_field_path",
    "parse_privacy_path",
    "view_of",
]
