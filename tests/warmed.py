"""For the server that tests' processes are forked from: what every run looks up once, and takes long."""

from workbench.features.code_keys import package_version

package_version("workbench")
