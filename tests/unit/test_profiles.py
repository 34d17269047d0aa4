"""The dialects: the names that people who replace another source rely on, and the rule that fills the gaps."""

import pytest

from connector.json_codec import write_json
from connector.normalize import normalize
from connector.profiles import DIALECTS
from connector.profiles.dialect import camel_case, title
from schemas.catalogue import DOCUMENTED
from tests.fixture_files import received, received_fixture

MESSAGE_METRICS = ("drafted", "attempted", "sent", "delivered", "converted", "bounced", "failed")

# Event → the names in the dialects rudderstack, segment and customerio.
NAMES = {
    "email_clicked": ("Email Link Clicked", "Email Link Clicked", "Email Link Clicked"),
    "email_spammed": ("Email Marked as Spam", "Email Marked as Spam", "Email Marked as Spam"),
    "email_dropped": ("Email Dropped", "Email Suppressed", "Email Suppressed"),
    "email_unsubscribed": ("Email Unsubscribed", "Unsubscribed", "Email Unsubscribed"),
    "email_subscribed": ("Email Subscribed", "Subscribed", "Subscribed"),
    "email_undeliverable": ("Email Undeliverable", "Email Undeliverable", "Email Undeliverable"),
    "email_deferred": ("Email Deferred", "Email Deferred", "Email Deferred"),
    "push_delivered": ("Push Delivered", "Push Notification Received", "Push Delivered"),
    "push_opened": ("Push Opened", "Push Opened", "Push Opened"),
    "push_clicked": ("Push Link Clicked", "Push Notification Tapped", "Push Link Clicked"),
    "push_bounced": ("Push Bounced", "Push Notification Bounced", "Push Bounced"),
    "push_dropped": ("Push Dropped", "Push Suppressed", "Push Suppressed"),
    "sms_clicked": ("SMS Link Clicked", "SMS Link Clicked", "SMS Link Clicked"),
    "sms_replied": ("SMS Replied", "SMS Replied", "SMS Replied"),
    "whatsapp_clicked": ("WhatsApp Link Clicked", "WhatsApp Link Clicked", "WhatsApp Link Clicked"),
    "whatsapp_opened": ("WhatsApp Opened", "WhatsApp Opened", "WhatsApp Opened"),
    "in_app_clicked": ("In-App Clicked", "In-App Clicked", "In-App Clicked"),
    "in_app_opened": ("In-App Opened", "In-App Opened", "In-App Opened"),
    "slack_sent": ("Slack Message Sent", "Slack Sent", "Slack Sent"),
    "slack_clicked": ("Slack Message Link Clicked", "Slack Link Clicked", "Slack Link Clicked"),
    "slack_converted": ("Slack Message Converted", "Slack Converted", "Slack Converted"),
    "webhook_sent": ("Webhook Message Sent", "Webhook Sent", "Webhook Sent"),
    "webhook_clicked": ("Webhook Message Link Clicked", "Webhook Link Clicked", "Webhook Link Clicked"),
    "customer_subscribed": ("Customer Subscribed", "Subscribed", "Subscribed"),
    "customer_unsubscribed": ("Customer Unsubscribed", "Unsubscribed", "Unsubscribed"),
    "customer_cio_subscription_preferences_changed": (
        "Customer Subscription Preferences Changed",
        "Subscription Preferences Changed",
        "Subscription Preferences Changed",
    ),
    "email_complained__unknown_metric": ("Email Complained", "Email Complained", "Email Complained"),
    "inbox_message_soft_bounced__unknown_pair": (
        "Inbox Message Soft Bounced",
        "Inbox Message Soft Bounced",
        "Inbox Message Soft Bounced",
    ),
    "email_constructor__prototype_name": ("Email Constructor", "Email Constructor", "Email Constructor"),
}


@pytest.mark.parametrize("name", NAMES)
def test_an_event_has_the_name_its_readers_know(name: str) -> None:
    found = tuple(normalize(received_fixture(name), profile)[0].body["event"] for profile in DIALECTS)

    assert found == NAMES[name]


@pytest.mark.parametrize(("object_type", "words"), [("email", "Email"), ("sms", "SMS"), ("push", "Push")])
def test_plain_metrics_are_the_channel_and_the_metric_capitalised(object_type: str, words: str) -> None:
    for metric in MESSAGE_METRICS:
        event = normalize(received_fixture(f"{object_type}_{metric}"))[0]

        assert event.body["event"] == f"{words} {metric.capitalize()}"


def test_no_name_is_one_that_customer_io_pipelines_acts_upon() -> None:
    names = {
        title(dialect, object_type, metric, f"{object_type}_{metric}")
        for dialect in DIALECTS.values()
        for object_type, metric in DOCUMENTED
    }

    assert not names & {"Report Delivery Event", "Report Content Event", "User Deleted", "User Suppressed"}


def test_the_rudderstack_dialect_has_that_sources_properties() -> None:
    body = normalize(received_fixture("email_clicked"), keep_content=True)[0].body

    assert body["properties"] == {
        "objectType": "email",
        "metric": "clicked",
        "subscriptionName": "email_clicked",
        "senderType": "newsletter",
        "eventId": "01K99F0XEVZ3F0HRHWXDY5C1DJ",
        "deliveryId": "FYsHsNQjKX1Zza9bl-OMxwcfMZQ=",
        "contentId": 84,
        "newsletterId": 31,
        "emailSubject": "Your September reading list",
        "link": {"url": "https://www.example.com/articles/compilers?utm_source=cio", "id": 4},
        "recipient": "grace@example.com",
        "machine": False,
        "isMachine": False,
    }
    assert body["context"]["integration"] == {"name": "Customer.io"}
    assert body["context"]["traits"] == {"email": "grace@example.com", "cioId": "a1b2c3d40002"}
    assert body["integrations"] == {"Customer.io": False}


def test_the_segment_dialect_follows_the_email_spec() -> None:
    body = normalize(received_fixture("email_clicked__legacy_2018"), "segment")[0].body

    properties = body["properties"]
    assert properties["email_id"] == "ZAIAAV6eOqQ_legacy_delivery="
    assert properties["email_subject"] == "Hello"
    assert (properties["campaign_id"], properties["campaign_name"]) == (12, "Onboarding")
    assert (properties["link_url"], properties["link_id"]) == ("https://www.example.com/", 4)
    assert body["context"]["campaign"]["medium"] == "email"
    assert "originalTimestamp" not in body  # Segment writes it itself


def test_the_segment_dialect_names_the_device_of_a_push() -> None:
    body = normalize(received_fixture("push_bounced"), "segment")[0].body

    assert body["context"]["device"]["type"] == "android"
    assert body["properties"]["campaign"] == {"source": "Customer.io", "medium": "push"}


def test_the_customerio_dialect_keeps_the_wires_names() -> None:
    properties = normalize(received_fixture("email_clicked"), "customerio")[0].body["properties"]

    assert properties["href"].startswith("https://")
    assert properties["link_id"] == 4
    assert properties["subject"] == "Your September reading list"
    assert properties["userId"] == "usr_1002"


def test_a_known_field_finds_its_place_on_a_channel_that_should_not_have_it() -> None:
    payload = {"event_id": "e", "object_type": "sms", "metric": "sent", "data": {"subject": "Hello"}}

    properties = normalize(received(write_json(payload)))[0].body["properties"]

    assert properties["emailSubject"] == "Hello"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("delivery_id", "deliveryId"),
        ("a_b_c", "aBC"),
        ("plain", "plain"),
        ("__proto__", "__proto__"),
        ("a__b", "aB"),
        ("", ""),
    ],
)
def test_camel_case(name: str, expected: str) -> None:
    assert camel_case(name) == expected
