"""The command line: arguments in, text or JSON out, an exit code.

Calls the public verbs as any program would. Owns its process: signals and the
exit code.
"""
