"""What every room may rely on; imports none of them.

May enter: values, the clock, settings, errors, limits, the database and its unit of work, outbound HTTP, the
directory, the sandbox, ports that two rooms share, and pure byte formats (``core.formats``). A rule about
certified copies, certificates or the log does not.
"""
