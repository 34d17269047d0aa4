"""The dialect of RudderStack's own Customer.io source, its gaps filled by the same pattern.

https://www.rudderstack.com/docs/sources/event-streams/cloud-apps/customerio
"""

from connector.profiles.dialect import Dialect, camel_case

RUDDERSTACK = Dialect(
    name="rudderstack",
    rename=camel_case,
    channels={"slack": "Slack Message", "webhook": "Webhook Message"},
    events={("in_app", "clicked"): "In-App Clicked"},
    properties={
        "subject": "emailSubject",
        "href": "link.url",
        "link_id": "link.id",
        "failure_message": "reason",
        "event_type": "type",
    },
    traits={"cio_id": "cioId", "preferences": "subscriptionPreferences"},
)
