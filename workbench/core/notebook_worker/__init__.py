"""The process that executes a notebook with papermill and writes its page.

Its input is a JSON file, the job; its output are lines of JSON, the executed copy and a page of it.
`workbench.experiments.notebooks` starts and monitors it. To start quickly, it imports only `credentials` and
`html_page` of the workbench.
"""
