"""Kaggle, through its official client: the only importer of `kaggle`.

The client is used for logging in, for calls and their types, and for uploads. Its downloads are not used: an
interrupted one keeps only whole mebibytes, fails after five interruptions in all, may overwrite a file with an error
page, and no checksum is compared. Here a download requests the address from the client and fetches the bytes itself.

`platform` implements the protocol with `competitions` (calls about a competition), `data_files`, `submissions` and
`code_host` (datasets and kernels). All of them call Kaggle through `connection`.
"""

from workbench.platforms.kaggle.connection import Patience
from workbench.platforms.kaggle.login import LoginState, login_state
from workbench.platforms.kaggle.platform import Kaggle

__all__ = ["Kaggle", "LoginState", "Patience", "login_state"]
