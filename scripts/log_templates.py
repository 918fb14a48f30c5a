"""Writes stores/predictions/templates.py, what pyarrow makes of the log's schemas: python scripts/log_templates.py"""

from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa

from trimtab.stores.predictions.framing import frames
from trimtab.stores.predictions.schemas import EARLIER, SCHEMAS
from trimtab.stores.predictions.template import CHECKSUM_KEY, CHECKSUM_ZERO, Template

MODULE = Path(__file__).resolve().parents[1] / "src" / "trimtab" / "stores" / "predictions" / "templates.py"
DIGITS_A_LINE = 108
OPENING = '''\
"""Message templates of the log's schemas. Made by scripts/log_templates.py; change schemas.py instead."""

from trimtab.stores.predictions.template import Template
'''


def template(schema: pa.Schema) -> Template:
    """Return the template of a schema, made of one row of nulls: a flatbuffer leaves out fields that are zero."""
    sink = io.BytesIO()
    row = pa.RecordBatch.from_arrays([pa.nulls(1, kind) for kind in schema.types], schema=schema)
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(row, custom_metadata={CHECKSUM_KEY: CHECKSUM_ZERO})
    data = sink.getvalue()
    first, second = frames(memoryview(data))
    head = data[second.start : second.start + 8 + int.from_bytes(data[second.start + 4 : second.start + 8], "little")]
    if head.count(CHECKSUM_ZERO) != 1:
        raise ValueError("the place of the checksum in a message is not plain")
    return Template(
        fields=tuple((field.name, str(field.type), field.nullable) for field in schema),
        schema_message=data[first.start : first.end],
        head=head,
        checksum_at=head.index(CHECKSUM_ZERO),
    )


def module() -> str:
    """Return the text of the module."""
    named = [*SCHEMAS.items(), *((f"earlier_{name}", schema) for name, schema in EARLIER.items())]
    return OPENING + "".join(_assignment(name, template(schema)) for name, schema in named)


def _assignment(name: str, made: Template) -> str:
    fields = "\n".join(f'        ("{field}", "{kind}", {nullable}),' for field, kind, nullable in made.fields)
    return (
        f"\n{name.upper()} = Template(\n    fields=(\n{fields}\n    ),\n"
        f"    schema_message={_bytes(made.schema_message)},\n    head={_bytes(made.head)},\n"
        f"    checksum_at={made.checksum_at},\n)\n"
    )


def _bytes(data: bytes) -> str:
    digits = data.hex()
    lines = [digits[start : start + DIGITS_A_LINE] for start in range(0, len(digits), DIGITS_A_LINE)]
    return "bytes.fromhex(\n" + "\n".join(f'        "{line}"' for line in lines) + "\n    )"


if __name__ == "__main__":
    MODULE.write_text(module(), encoding="utf-8")
