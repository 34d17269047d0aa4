"""The base of all schemas of received data: strict `load` is marshmallow's own, `read` is fast and never refuses."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from marshmallow import INCLUDE, Schema, ValidationError, missing

from schemas.fields import Value


class Shape(Schema):
    """A JSON object with known fields. Unknown ones are no error; `required` names what strict loading insists on."""

    class Meta:
        unknown = INCLUDE

    def __init__(self, *, required: Iterable[str] = ()) -> None:
        super().__init__()
        for name in required:
            self.load_fields[name].required = True
        self._reads: dict[str, Callable[[Any], Any]] = {
            name: field.read for name, field in self.load_fields.items() if isinstance(field, Value)
        }

    def read(self, raw: Mapping[str, Any], flaws: list[str], path: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
        """The known fields as they are meant, and the unknown ones as they came; blank ones are in neither.

        A value of the wrong kind is kept as it came, and its path is added to `flaws`. Never raises.
        """
        known: dict[str, Any] = {}
        unknown: dict[str, Any] = {}
        reads = self._reads
        for name, value in raw.items():
            read = reads.get(name)
            if read is None:
                if value is not None and value != "":
                    unknown[name] = value
                continue
            try:
                value = read(value)
            except ValidationError:
                flaws.append(path + name)
            if value is not missing:
                known[name] = value
        return known, unknown


class Part(Value):
    """An object inside an object, with a schema of its own. `read` leaves its inside to whoever reads the part."""

    def __init__(self, shape: type[Shape], *, inside: Iterable[str] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shape_class = shape
        self.shape = shape(required=inside)

    def read(self, value: Any) -> Any:
        if type(value) is dict:
            return value
        if value is None or value == "":
            return missing
        raise ValidationError("not an object")

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        return self.shape.load(self.read(value))


class Parts(Part):
    """A list of such objects."""

    def read(self, value: Any) -> Any:
        if type(value) is list:
            return value
        if value is None or value == "":
            return missing
        if type(value) is dict:  # one, without its list
            return [value]
        raise ValidationError("not a list")

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        return self.shape.load(self.read(value), many=True)
