"""The contract of all destinations, and what only Elasticsearch does."""

import json
from collections.abc import Mapping
from typing import Any

from connector.destinations.base import Destination
from connector.model import OutcomeKind, Response
from customerio_connector_elasticsearch import ElasticsearchDestination
from destination_contract import DestinationContract
from destination_contract.examples import SENT_AT, an_open, deliveries_of


def answer(*statuses: int) -> bytes:
    items = [
        {"create": {"_index": "customerio", "status": status, "error": {"type": "made up"}}} for status in statuses
    ]
    return json.dumps({"took": 3, "errors": True, "items": items}).encode()


class TestElasticsearch(DestinationContract):
    destination_type: type[Destination] = ElasticsearchDestination
    options: Mapping[str, Any] = {"url": "https://search.example.com", "api_key": "made-up-secret"}
    answer_to_all: bytes = answer(201, 201, 201)

    def test_each_document_is_judged_by_itself(self, destination: Destination) -> None:
        outcomes = self.judged(destination, Response(200, {}, answer(201, 409, 400, 429)), 4)

        assert [outcome.kind for outcome in outcomes] == [
            OutcomeKind.DELIVERED,
            OutcomeKind.DELIVERED,  # it is there already
            OutcomeKind.REJECTED,
            OutcomeKind.THROTTLED,
        ]

    def test_an_answer_without_an_item_for_each_document_is_tried_again(self, destination: Destination) -> None:
        outcomes = self.judged(destination, Response(200, {}, answer(201)), 2)

        assert {outcome.kind for outcome in outcomes} == {OutcomeKind.TRANSIENT}

    def test_each_document_follows_a_line_with_its_id(self, destination: Destination) -> None:
        request = destination.prepare(deliveries_of(destination, [an_open(messageId="m-1")]), SENT_AT)

        action, document = (json.loads(line) for line in request.body.splitlines())
        assert request.url == "https://search.example.com/customerio/_bulk"
        assert action == {"create": {"_id": "m-1"}}
        assert document["event"] == "Email Opened"
