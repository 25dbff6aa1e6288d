"""The platforms that host competitions.

In come a platform's name and a competition's; out come files, grades and the states of submissions and kernels.
`protocol` says what a platform can do, and which class implements which name (`IMPLEMENTATIONS`); `interactions` is
what a platform may say of a log of events; `kaggle` is the only importer of Kaggle's client. The local platform is
the wing `rehearsal`, as it reads the files that it hosts as `wb fetch` reads them.

A new platform is a class that follows `protocol.Platform`, one line in `IMPLEMENTATIONS`, and one subclass of the
tests' `PlatformContract`.
"""
