"""The description at /openapi.json is a valid OpenAPI 3.1 document."""

from openapi_spec_validator import OpenAPIV31SpecValidator

from penstock import check, get_json, run


@check
def the_description_is_valid_openapi_3_1():
    faults = [f"{'/'.join(map(str, fault.absolute_path))}: {fault.message[:300]}" for fault in
              OpenAPIV31SpecValidator(get_json("/openapi.json")).iter_errors()]
    assert not faults, "\n".join(faults)


run()
