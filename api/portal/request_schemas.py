"""Shapes of signature requests at the portal's door. Strict, no unknown members, sizes capped."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.portal.schemas import FileName, Id, Moment, RefusalOut, Text
from core.limits import LIMITS
from core.values import DigestAlgorithm, Realm

__all__ = [
    "CancelIn", "DigestOnlyIn", "ExtendIn", "PdfIn", "ReplaceIn", "RequestState", "SignatureRequestIn", "SignatureRequestMade",
    "SignatureRequestOut", "SignedDocumentOut", "SigningLinkOut", "StepOut", "StepState",
]  # fmt: skip

RequestState = Literal["open", "completed", "refused", "cancelled", "expired", "failed"]
StepState = Literal[
    "waiting", "ready", "open", "approved", "signed", "refused", "replaced", "cancelled", "expired",
]  # fmt: skip
StepKind = Literal["citizen", "official", "seal"]
Title = Annotated[Text, Field(min_length=1, examples=["Đơn đề nghị trợ cấp xã hội"])]
Provider = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}$")]
_Points = Annotated[float, Field(ge=0, le=14_400, description="Points (1/72 inch) from the top left corner.")]
_Shift = Annotated[float, Field(ge=-2_000, le=2_000, description="Points to the right, or down.")]
_Size = Annotated[float, Field(ge=20, le=2_000, description="Points (1/72 inch).")]
_Page = Annotated[int, Field(ge=1, le=LIMITS["intake.pages"], description="The first page is 1.")]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


# --------------------------------------------------------------------------------------------------------- documents
class PdfIn(_In):
    """A PDF that was sent before to ``/files`` or ``/uploads``; its name is what that answered."""

    title: Title
    file: FileName


class DigestOnlyIn(_In):
    """A digest alone: the scope ``signatures:digests`` is needed, and the signer is told that nothing can be shown."""

    title: Title
    digest: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64}|[0-9a-f]{96}|[0-9a-f]{128})$")]
    algorithm: DigestAlgorithm


# --------------------------------------------------------------------------------------------------------- placements
class AtCoordinates(_In):
    """A visible signature in this box."""

    kind: Literal["coordinates"]
    page: _Page
    x: _Points
    y: _Points
    width: _Size
    height: _Size


class AtAnchor(_In):
    """A visible signature that hangs under the first letter of a text of the document."""

    kind: Literal["anchor"]
    text: Annotated[Text, Field(min_length=1, max_length=200, examples=["Người làm đơn"])]
    page: Annotated[_Page | None, Field(description="None: all pages are looked through.")] = None
    occurrence: Annotated[int, Field(ge=1, le=100, description="Which one, where it stands more than once.")] = 1
    x: _Shift = 0
    y: _Shift = 0
    width: _Size = 170
    height: _Size = 60


class InField(_In):
    """In an empty signature field that the document has."""

    kind: Literal["field"]
    field: Annotated[Text, Field(min_length=1, max_length=200, examples=["Signature1"])]


class Nowhere(_In):
    """A signature that no page shows."""

    kind: Literal["none"]


PlacementIn = Annotated[AtCoordinates | AtAnchor | InField | Nowhere, Field(discriminator="kind")]


# ------------------------------------------------------------------------------------------------------------ signers
class NewPersonIn(_In):
    """Somebody by number and name, as the portal has identified them. The number is kept as a keyed digest only."""

    national_id: Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")]
    name: Annotated[Text, Field(min_length=2, max_length=64, examples=["Phạm Thị Ổn"])]


class KnownPersonIn(_In):
    """Somebody by the id that an answer or the agency's list of people gave."""

    id: Id


PersonIn = KnownPersonIn | NewPersonIn


class SignerIn(_In):
    """One signature that is wanted. Equal ``order``: in any order among each other; higher ones wait."""

    person: PersonIn
    kind: StepKind = "citizen"
    order: Annotated[int, Field(ge=0, le=LIMITS["request.steps"])] = 0
    placement: PlacementIn | None = None
    provider: Annotated[
        Provider | None,
        Field(description="A remote-signing service by its name in the settings; else a key kept here."),
    ] = None


ReturnUrl = Annotated[
    str,
    Field(
        min_length=9, max_length=1_000, examples=["https://portal.example.gov.vn/ho-so/"],
        description="Below an address registered for the client.", json_schema_extra={"format": "uri"},
    ),
]  # fmt: skip


class SignatureRequestIn(_In):
    """What is to be signed by whom, until when. Webhooks tell what becomes of it (types ``request.…``)."""

    agency: Annotated[Text, Field(min_length=1, examples=["H99.1"])]
    title: Title
    reason: Text = ""
    deadline: Annotated[Moment, Field(examples=["2026-12-01T17:00:00+07:00"])]
    documents: Annotated[list[PdfIn | DigestOnlyIn], Field(min_length=1, max_length=LIMITS["request.documents"])]
    signers: Annotated[list[SignerIn], Field(min_length=1, max_length=LIMITS["request.steps"])]
    return_url: ReturnUrl | None = None


class CancelIn(_In):
    """Why it is no longer wanted; the signers read it."""

    reason: Annotated[Text, Field(min_length=1)]


class ExtendIn(_In):
    """The new last moment, later than the one before."""

    deadline: Moment


class ReplaceIn(_In):
    """Who signs instead."""

    person: PersonIn


# ------------------------------------------------------------------------------------------------------------ answers
class SignedDocumentOut(BaseModel):
    """One document; ``signed_sha256`` once everybody has signed."""

    n: int
    title: str
    kind: Literal["pdf", "digest"]
    sha256: str | None = Field(description="Of the PDF as it was given.")
    digest: str | None = Field(description="Where there is nothing but a digest.")
    algorithm: DigestAlgorithm | None
    signed_sha256: str | None
    links: dict[str, str]


class StepOut(BaseModel):
    """One signature that is wanted, and how far it is."""

    id: str
    order: int
    kind: StepKind
    state: StepState
    person: str
    name: str = Field(description="A citizen's name in part; the portal knows whom it asked for.")
    provider: str | None
    code: str | None = Field(
        description="Six digits, while the signer looks at the documents: the phone shows the same."
    )
    opened_at: dt.datetime | None
    signed_at: dt.datetime | None
    reason: str | None = Field(description="Why the signer refused, in the signer's words.")
    problem: RefusalOut | None = Field(description="Why an approval came to nothing; the signer is asked again.")
    replaced_by: str | None


class SignatureRequestOut(BaseModel):
    """A request as the portal sees it."""

    id: str
    state: RequestState
    realm: Realm
    agency: str
    title: str
    reason: str
    return_url: str | None
    deadline: dt.datetime
    created_at: dt.datetime
    settled_at: dt.datetime | None
    outcome: str | None = Field(description="Why it was refused or cancelled, in the words of who did it.")
    problem: RefusalOut | None = Field(description="What went wrong, where it failed.")
    documents: list[SignedDocumentOut]
    steps: list[StepOut]
    links: dict[str, str]


class SigningLinkOut(BaseModel):
    """Where one signer signs. Give it to that person alone; it is shown here and never again."""

    step: str
    url: str
    qr: str = Field(description="The same as a QR code, an SVG picture.")


class SignatureRequestMade(SignatureRequestOut):
    """With a link for every signer, also for those whose turn comes later."""

    signing: list[SigningLinkOut]
