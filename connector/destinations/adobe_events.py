"""What each Customer.io event is in Adobe's XDM: event type, measure, who did it. Tables only.

The names are those of https://github.com/adobe/xdm: `components/behaviors/time-series.schema.json` lists the standard
event types, `components/fieldgroups/experience-event/` the field groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SELF = "self"  # the person did it
SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Feedback:
    """What Journey Optimizer's field group "Message Delivery Feedback Details" calls it."""

    status: str
    reason: str = ""  # the object that takes the failure message: messageFailure or messageExclusion


@dataclass(frozen=True, slots=True)
class Interaction:
    """What Journey Optimizer's field group "Message interaction details" calls it."""

    type: str
    bot_type: str = ""  # when software did it


@dataclass(frozen=True, slots=True)
class XdmEvent:
    """One row: a standard event type, or one of our own, `customerio.<object_type>.<metric>`."""

    event_type: str
    produced_by: str
    measure: str | None = None  # of directMarketing; its value is 1
    journey: Feedback | Interaction | None = None


SENT = Feedback("sent")
DELIVERED = Feedback("delivered")
READ = Feedback("read")
DELAY = Feedback("delay", "messageFailure")
BOUNCE = Feedback("bounce", "messageFailure")
ERROR = Feedback("error", "messageFailure")
DENYLIST = Feedback("denylist")
EXCLUDE = Feedback("exclude", "messageExclusion")
SUBSCRIPTION = Interaction("subscription")
UNSUBSCRIBE = Interaction("unsubscribe")
OPEN = Interaction("open", "bot_open")
CLICK = Interaction("click", "bot_click")
SPAM_COMPLAINT = Interaction("spam_complaint")
REPLY = Interaction("reply")

EVENTS: Mapping[tuple[str, str], XdmEvent] = {
    # customer
    ("customer", "subscribed"): XdmEvent("customerio.customer.subscribed", SELF, "marketingSubscription", SUBSCRIPTION),
    ("customer", "unsubscribed"): XdmEvent("customerio.customer.unsubscribed", SELF, "unsubscriptions", UNSUBSCRIBE),
    ("customer", "cio_subscription_preferences_changed"): XdmEvent(
        "customerio.customer.subscription_preferences_changed", SELF
    ),
    # email
    ("email", "drafted"): XdmEvent("customerio.email.drafted", SYSTEM),
    ("email", "attempted"): XdmEvent("customerio.email.attempted", SYSTEM, None, DELAY),
    ("email", "sent"): XdmEvent("directMarketing.emailSent", SYSTEM, "sends", SENT),
    ("email", "delivered"): XdmEvent("directMarketing.emailDelivered", SYSTEM, "emailDelivered", DELIVERED),
    ("email", "opened"): XdmEvent("directMarketing.emailOpened", SELF, "opens", OPEN),
    ("email", "clicked"): XdmEvent("directMarketing.emailClicked", SELF, "clicks", CLICK),
    ("email", "converted"): XdmEvent("customerio.email.converted", SELF),
    ("email", "unsubscribed"): XdmEvent("directMarketing.emailUnsubscribed", SELF, "unsubscriptions", UNSUBSCRIBE),
    ("email", "bounced"): XdmEvent("directMarketing.emailBounced", SYSTEM, "nonDeliverables", BOUNCE),
    ("email", "dropped"): XdmEvent("customerio.email.dropped", SYSTEM, "excludes", DENYLIST),
    ("email", "deferred"): XdmEvent("customerio.email.deferred", SYSTEM, None, DELAY),
    ("email", "spammed"): XdmEvent("customerio.email.spammed", SELF, "userComplaints", SPAM_COMPLAINT),
    ("email", "failed"): XdmEvent("customerio.email.failed", SYSTEM, "notSent", ERROR),
    ("email", "undeliverable"): XdmEvent("customerio.email.undeliverable", SYSTEM, "excludes", EXCLUDE),
    # push
    ("push", "drafted"): XdmEvent("customerio.push.drafted", SYSTEM),
    ("push", "attempted"): XdmEvent("customerio.push.attempted", SYSTEM, None, DELAY),
    ("push", "sent"): XdmEvent("customerio.push.sent", SYSTEM, "sends", SENT),
    ("push", "delivered"): XdmEvent("customerio.push.delivered", SYSTEM, None, DELIVERED),
    ("push", "opened"): XdmEvent("pushTracking.applicationOpened", SELF, "opens", OPEN),
    ("push", "clicked"): XdmEvent("pushTracking.customAction", SELF, "clicks", CLICK),
    ("push", "converted"): XdmEvent("customerio.push.converted", SELF),
    ("push", "bounced"): XdmEvent("customerio.push.bounced", SYSTEM, "nonDeliverables", BOUNCE),
    ("push", "dropped"): XdmEvent("customerio.push.dropped", SYSTEM, "excludes", DENYLIST),
    ("push", "failed"): XdmEvent("customerio.push.failed", SYSTEM, "notSent", ERROR),
    ("push", "undeliverable"): XdmEvent("customerio.push.undeliverable", SYSTEM, "excludes", EXCLUDE),
    # in_app
    ("in_app", "drafted"): XdmEvent("customerio.in_app.drafted", SYSTEM),
    ("in_app", "attempted"): XdmEvent("customerio.in_app.attempted", SYSTEM, None, DELAY),
    ("in_app", "sent"): XdmEvent("customerio.in_app.sent", SYSTEM, "sends", SENT),
    ("in_app", "opened"): XdmEvent("inappmessageTracking.display", SELF, "impressions", OPEN),
    ("in_app", "clicked"): XdmEvent("inappmessageTracking.interact", SELF, "clicks", CLICK),
    ("in_app", "converted"): XdmEvent("customerio.in_app.converted", SELF),
    ("in_app", "failed"): XdmEvent("customerio.in_app.failed", SYSTEM, "notSent", ERROR),
    ("in_app", "undeliverable"): XdmEvent("customerio.in_app.undeliverable", SYSTEM, "excludes", EXCLUDE),
    # sms
    ("sms", "drafted"): XdmEvent("customerio.sms.drafted", SYSTEM),
    ("sms", "attempted"): XdmEvent("customerio.sms.attempted", SYSTEM, None, DELAY),
    ("sms", "sent"): XdmEvent("customerio.sms.sent", SYSTEM, "sends", SENT),
    ("sms", "delivered"): XdmEvent("customerio.sms.delivered", SYSTEM, None, DELIVERED),
    ("sms", "clicked"): XdmEvent("customerio.sms.clicked", SELF, "clicks", CLICK),
    ("sms", "converted"): XdmEvent("customerio.sms.converted", SELF),
    ("sms", "bounced"): XdmEvent("customerio.sms.bounced", SYSTEM, "nonDeliverables", BOUNCE),
    ("sms", "dropped"): XdmEvent("customerio.sms.dropped", SYSTEM, "excludes", DENYLIST),
    ("sms", "failed"): XdmEvent("customerio.sms.failed", SYSTEM, "notSent", ERROR),
    ("sms", "undeliverable"): XdmEvent("customerio.sms.undeliverable", SYSTEM, "excludes", EXCLUDE),
    ("sms", "replied"): XdmEvent("customerio.sms.replied", SELF, None, REPLY),
    # whatsapp
    ("whatsapp", "drafted"): XdmEvent("customerio.whatsapp.drafted", SYSTEM),
    ("whatsapp", "attempted"): XdmEvent("customerio.whatsapp.attempted", SYSTEM, None, DELAY),
    ("whatsapp", "sent"): XdmEvent("customerio.whatsapp.sent", SYSTEM, "sends", SENT),
    ("whatsapp", "delivered"): XdmEvent("customerio.whatsapp.delivered", SYSTEM, None, DELIVERED),
    ("whatsapp", "opened"): XdmEvent("customerio.whatsapp.opened", SELF, "opens", READ),
    ("whatsapp", "clicked"): XdmEvent("customerio.whatsapp.clicked", SELF, "clicks", CLICK),
    ("whatsapp", "converted"): XdmEvent("customerio.whatsapp.converted", SELF),
    ("whatsapp", "bounced"): XdmEvent("customerio.whatsapp.bounced", SYSTEM, "nonDeliverables", BOUNCE),
    ("whatsapp", "dropped"): XdmEvent("customerio.whatsapp.dropped", SYSTEM, "excludes", DENYLIST),
    ("whatsapp", "failed"): XdmEvent("customerio.whatsapp.failed", SYSTEM, "notSent", ERROR),
    ("whatsapp", "undeliverable"): XdmEvent("customerio.whatsapp.undeliverable", SYSTEM, "excludes", EXCLUDE),
    ("whatsapp", "replied"): XdmEvent("customerio.whatsapp.replied", SELF, None, REPLY),
    # slack
    ("slack", "drafted"): XdmEvent("customerio.slack.drafted", SYSTEM),
    ("slack", "attempted"): XdmEvent("customerio.slack.attempted", SYSTEM),
    ("slack", "sent"): XdmEvent("customerio.slack.sent", SYSTEM),
    ("slack", "clicked"): XdmEvent("customerio.slack.clicked", SELF),
    ("slack", "converted"): XdmEvent("customerio.slack.converted", SELF),
    ("slack", "failed"): XdmEvent("customerio.slack.failed", SYSTEM),
    ("slack", "undeliverable"): XdmEvent("customerio.slack.undeliverable", SYSTEM),
    # webhook
    ("webhook", "drafted"): XdmEvent("customerio.webhook.drafted", SYSTEM),
    ("webhook", "attempted"): XdmEvent("customerio.webhook.attempted", SYSTEM),
    ("webhook", "sent"): XdmEvent("customerio.webhook.sent", SYSTEM),
    ("webhook", "clicked"): XdmEvent("customerio.webhook.clicked", SELF),
    ("webhook", "converted"): XdmEvent("customerio.webhook.converted", SELF),
    ("webhook", "failed"): XdmEvent("customerio.webhook.failed", SYSTEM),
    ("webhook", "undeliverable"): XdmEvent("customerio.webhook.undeliverable", SYSTEM),
}

# Asked first: with these metrics the object type only names the channel that caused the change. The unsubscribing from
# an e-mail has a standard type, and keeps it.
SUBSCRIPTION_METRICS = frozenset({"subscribed", "unsubscribed", "cio_subscription_preferences_changed"})

# Of pairs that are in no table.
PERSONAL_METRICS = frozenset({"opened", "clicked", "converted", "spammed", "replied"}) | SUBSCRIPTION_METRICS

# The provider does not say whether a bounce is for good; where its message begins like this, it is not (RFC 3463).
SOFT_BOUNCE = XdmEvent("directMarketing.emailBouncedSoft", SYSTEM, "bounces", BOUNCE)
SOFT_BOUNCE_START = "4"

# object type → `channel._id`, which is required where there is a channel, and `channel._type`. No constant stands for
# slack, webhook and customer.
CHANNEL = "https://ns.adobe.com/xdm/channels/"
CHANNEL_TYPE = "https://ns.adobe.com/xdm/channel-types/"
CHANNELS: Mapping[str, tuple[str, str]] = {
    "email": (CHANNEL + "email", CHANNEL_TYPE + "email"),
    "sms": (CHANNEL + "sms", CHANNEL_TYPE + "messaging"),
    "push": (CHANNEL + "push", CHANNEL_TYPE + "mobile"),
    "in_app": (CHANNEL + "mobile-app", CHANNEL_TYPE + "mobile"),
    "whatsapp": (CHANNEL + "whatsApp", CHANNEL_TYPE + "messaging"),
}

# measure → `channel.mediaAction`, where XDM has a word for it.
MEDIA_ACTIONS: Mapping[str, str] = {
    "opens": "opens",
    "sends": "sends",
    "clicks": "clicks",
    "impressions": "impressions",
    "nonDeliverables": "nonDeliverables",
    "notSent": "notSent",
    "unsubscriptions": "unSubscriptions",
    "userComplaints": "userComplaints",
    "marketingSubscription": "subscriptions",
}

# Whose clicks are the person's own; a link in Slack, or in what a webhook wrote, may be followed by anybody.
LINKED_CHANNELS = frozenset({"email", "push", "in_app", "sms", "whatsapp"})

PUSH_PROVIDERS: Mapping[str, str] = {"ios": "apns", "android": "fcm"}

# property → prefix of `marketing.trackingCode`; the first that is there.
SENDERS: Mapping[str, str] = {
    "campaign_id": "campaign",
    "broadcast_id": "broadcast",
    "newsletter_id": "newsletter",
    "transactional_message_id": "transactional",
}

# Properties that have a home in the tenant's field group only. All ids are texts: XDM's integer has 32 bits.
TENANT_TEXTS: Mapping[str, str] = {
    "delivery_id": "deliveryId",
    "campaign_id": "campaignId",
    "broadcast_id": "broadcastId",
    "newsletter_id": "newsletterId",
    "transactional_message_id": "transactionalMessageId",
    "action_id": "actionId",
    "parent_action_id": "parentActionId",
    "content_id": "contentId",
    "journey_id": "journeyId",
    "trigger_id": "triggerId",
    "trigger_event_id": "triggerEventId",
    "subject": "subject",
    "tracked_response": "trackedResponse",
}
TENANT_FLAGS: Mapping[str, str] = {
    "proxied": "isProxied",
    "prefetched": "isPrefetched",
    "synthetic": "isSynthetic",
    "machine": "isMachine",
}
TENANT_LINK: Mapping[str, str] = {"link_id": "id", "href": "url"}
TENANT_INBOUND: Mapping[str, str] = {"inbound_event_id": "eventId", "to": "to"}
TENANT_DEVICE: Mapping[str, str] = {
    "device_id": "deviceId",
    "device_platform": "devicePlatform",
    "failure_message": "failureMessage",
}


def xdm_event(object_type: str, metric: str) -> XdmEvent:
    """The pair's row; one that is in no table has an event type of our own, and no measure."""
    found = EVENTS.get((object_type, metric))
    if found is None and metric in SUBSCRIPTION_METRICS:
        found = EVENTS["customer", metric]
    if found is None:
        by = SELF if metric in PERSONAL_METRICS else SYSTEM
        found = XdmEvent(f"customerio.{object_type}.{metric}", by)
    return found
