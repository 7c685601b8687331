"""DICOMweb beside the pages: STOW-RS, QIDO-RS and WADO-RS (PS3.18) over what the node received and answered."""

PREFIX = "/dicom-web"
