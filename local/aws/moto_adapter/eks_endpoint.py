"""Where an emulated cluster's API server is, and by which authority its certificate is signed.

Both come from the environment of the emulated account where a Kubernetes API server runs beside it. Without one they
are well formed but lead nowhere: a name as EKS makes it, and the certificate of an authority that was made up.
"""

from __future__ import annotations

import base64
import os
import uuid
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

ENDPOINT_VARIABLE = "TRAINYARD_KUBERNETES_ENDPOINT"
CA_FILE_VARIABLE = "TRAINYARD_KUBERNETES_CA_FILE"


def endpoint(region: str) -> str:
    """The address of a new cluster's API server."""
    given = os.environ.get(ENDPOINT_VARIABLE, "")
    if given:
        return given
    name = uuid.uuid4().hex.upper()
    return f"https://{name}.gr7.{region}.eks.amazonaws.com"


def certificate_authority() -> str:
    """The certificate of the API server's authority, PEM in base64."""
    file = os.environ.get(CA_FILE_VARIABLE, "")
    pem = Path(file).read_bytes() if file else _made_up_authority()
    return base64.b64encode(pem).decode()


@cache
def _made_up_authority() -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    start = datetime.now(UTC) - timedelta(minutes=5)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)
