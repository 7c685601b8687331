"""A DICOM node: films in from a PACS, reports and captures back to it, and films fetched from it.

`node.Node` receives, answers and sends around a `serve.server.Server`; `pull` fetches into a folder.
"""
