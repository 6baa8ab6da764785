"""What the standard says of every operator, from the onnx package: how many values a node reads and computes."""

from __future__ import annotations

from functools import lru_cache

from onnx import NodeProto, defs


@lru_cache(maxsize=1024)
def _schema(op_type: str, opset: int) -> defs.OpSchema | None:
    """For an operator that is younger than the opset, how it was when it came; None for one that never did."""
    try:
        return defs.get_schema(op_type, opset, "")
    except defs.SchemaError:
        every = defs.get_all_schemas_with_history()
        same = (schema for schema in every if (schema.domain, schema.name) == ("", op_type))
        return min(same, key=lambda schema: schema.since_version, default=None)


def check(node: NodeProto, opset: int, what: str) -> None:
    """A ValueError where a node lacks a value that it must have, or has more than the operator takes."""
    schema = _schema(node.op_type, opset)
    if schema is None:
        return
    for kind, given, least, most in (
        ("inputs", len(node.input), schema.min_input, schema.max_input),
        ("outputs", len(node.output), schema.min_output, schema.max_output),
    ):
        if not least <= given <= most:
            text = f"{least} to {most}" if most < 2**31 - 1 else f"at least {least}"
            raise ValueError(f"{what}: expected {least if least == most else text} {kind}, got {given}")
    for name, formal in zip(node.input, schema.inputs, strict=False):
        if not name and formal.option == defs.OpSchema.FormalParameterOption.Single:
            raise ValueError(f"{what}: expected the input {formal.name}, got none")
    if schema.inputs and schema.inputs[-1].option == defs.OpSchema.FormalParameterOption.Variadic:
        if not all(node.input[len(schema.inputs) - 1 :]):
            raise ValueError(f"{what}: expected a value for each of {schema.inputs[-1].name}, got an empty name")
