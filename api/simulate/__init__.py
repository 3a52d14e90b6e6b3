"""Parts of the outside world to practise with: a remote-signing service that portals run without a home."""
