"""The Customer.io connector: receive → verify → journal → normalize → route → deliver → record."""

__version__ = "0.1.0"
