"""How the images of an item reach the service, and what is done when it does not take them that way.

By `images.transport` they travel in the request, are handed over as URLs, or are uploaded once and named by their
file's id. Each remedy is tried once for an item: files that are gone are uploaded again; images behind URLs and file
ids that the service refuses are sent in the request, with a warning on them; what is too large is made smaller.
"""

from dataclasses import replace

from pipeline.api.client import FileGoneError, RequestTooLargeError
from pipeline.api.files import FilesRefusedError, FileUploader
from pipeline.engines.preparing import Preparer, ReadyItem
from pipeline.errors import AnswerError, ErrorType
from pipeline.records import ImageLink, PreparedImage

__all__ = ["Carrier", "names_files"]

RENEWED = "renewed"
_WHOLE = "whole"
_SMALLER = "smaller"


def names_files(ready: ReadyItem) -> bool:
    """Whether any image of the item is named by its file's id."""
    return any(image.link is not None and image.link.kind == "file" for image in ready.images)


class Carrier:
    """Makes items travel.

    Args:
        preparer: reads and prepares images again where that is needed.
        uploader: where images travel as files, `None` where they do not.
        falls_back: whether what is refused as a URL or a file is sent in the request.
    """

    def __init__(self, preparer: Preparer, uploader: FileUploader | None = None, *, falls_back: bool = True) -> None:
        self.preparer = preparer
        self._uploader = uploader
        self._falls_back = falls_back

    async def loaded(self, ready: ReadyItem) -> ReadyItem:
        """The item with its images uploaded, where they travel as files; those that cannot be are sent whole.

        Raises:
            AnswerError: a file is refused, and the image may not travel in the request.
            RunStoppedError: the service gave an answer to an upload that no retry can mend.
            PacerClosedError: the run drains.
        """
        if self._uploader is None or not ready.images:
            return ready
        images = [await self._uploaded(self._uploader, image) for image in ready.images]
        return self.preparer.with_images(ready, images)

    async def mended(self, ready: ReadyItem, error: AnswerError, tried: set[str]) -> ReadyItem | None:
        """The item in a form that the service may take, `None` where there is none left to try.

        Args:
            ready: as it was refused.
            error: how.
            tried: the remedies that were; the one that is tried now is added.

        Raises:
            ItemError: an image cannot be had, or made smaller.
            RunStoppedError: as `loaded`.
            PacerClosedError: as `loaded`.
        """
        if isinstance(error, FileGoneError) and RENEWED not in tried:
            tried.add(RENEWED)
            return await self.loaded(ready)
        is_linked = self._falls_back and any(image.link is not None for image in ready.images)
        if is_linked and error.http_status in (400, 413) and _WHOLE not in tried:
            tried.add(_WHOLE)
            return await self.preparer.whole(ready)
        if isinstance(error, RequestTooLargeError) and _SMALLER not in tried and ready.images:
            tried.add(_SMALLER)
            return await self.preparer.smaller(ready)
        return None

    async def _uploaded(self, uploader: FileUploader, image: PreparedImage) -> PreparedImage:
        """The image with its file's id; one that has an id already is uploaded anew, since the service lost it."""
        gone = image.link.target if image.link is not None else None
        try:
            return replace(image, link=ImageLink("file", await uploader.file_id(image, gone=gone)))
        except FilesRefusedError as error:
            if not self._falls_back:
                raise AnswerError(ErrorType.INVALID_REQUEST, f"the image was refused as a file: {error}") from error
            record = replace(image.record, warnings=(*image.record.warnings, "file_refused"))
            return PreparedImage(image.body, record, image.thumbnail)
