"""What a person has to create in Adobe Experience Platform before the first event."""

import json

import click

from connector.commands.answers import Refusal, json_option, note, reaching, show_json
from connector.commands.desk import destination_named
from connector.destinations.adobe_field_group import field_group
from connector.errors import SettingsError
from connector.house import House

TYPE = "adobe"
FIELD_GROUPS = "https://platform.adobe.io/data/foundation/schemaregistry/tenant/fieldgroups"


@click.command("adobe-field-group")
@click.argument("destination", required=False)
@click.option("--tenant", help="The tenant id, instead of that of a destination; with or without its underscore.")
@json_option
@click.pass_obj
def adobe_field_group(house: House, destination: str | None, tenant: str | None, as_json: bool) -> None:
    """Prints the field group that Adobe needs. The body of a POST to the Schema Registry, for a tenant or a destination
    of type adobe; nothing is sent.
    """
    if (destination is None) == (tenant is None):
        raise click.UsageError("name a destination of type adobe, or a tenant with --tenant")
    try:
        made = field_group(tenant or configured_tenant(house, str(destination)))
    except SettingsError as error:
        raise Refusal(str(error)) from None
    if as_json:
        show_json(made)
        return
    click.echo(json.dumps(made, indent=2))
    note(f"POST it to {FIELD_GROUPS}, and add the field group to the schema")


def configured_tenant(house: House, name: str) -> str:
    """Raises Refusal when the destination is of another type, or has no tenant."""
    with reaching():
        connections = house.read_connections(house.load_settings()).current
    connection = destination_named(connections, name)
    tenant = connection.options.get("tenant") if connection.type == TYPE else None
    if not tenant:
        raise Refusal(f"destination {name} is not of type adobe, or has no tenant; name one with --tenant")
    return str(tenant)
