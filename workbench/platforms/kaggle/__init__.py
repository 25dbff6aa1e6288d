"""Kaggle, through its official client: the only importer of `kaggle`.

The client is used for what it owns: logging in, the calls and their types, resumable uploads. Its own downloads are
not: they keep only whole mebibytes of what arrived, give up after five cuts in all, write an error page over what was
there, and check no digest. So a download asks the client for the address, and fetches the bytes here.
"""

from workbench.platforms.kaggle.connection import Patience
from workbench.platforms.kaggle.login import LoginState, login_state
from workbench.platforms.kaggle.platform import Kaggle

__all__ = ["Kaggle", "LoginState", "Patience", "login_state"]
