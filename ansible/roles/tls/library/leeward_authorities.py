#!/usr/bin/python
"""The folder of authorities on the control host: a root, below it an authority for each region and one for clients, below
that a certificate for each operator and client. Makes what is missing and renews what nears its end; never a second root."""
import datetime
import os
import tempfile

from ansible.module_utils.basic import AnsibleModule
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DOCUMENTATION = r"""
module: leeward_authorities
short_description: Keys and certificates of a deployment's authorities, operators and clients
description:
  - Makes what is missing in a folder of the control host, and renews what nears its end.
  - Stops where a certificate is there and its key is not, for a second root would part the deployment.
options:
  directory: {description: The folder., type: path, required: true}
  cluster: {description: Name of the deployment., type: str, required: true}
  regions: {description: Regions; each has an authority., type: list, elements: str, required: true}
  people: {description: Common names of operators and clients., type: list, elements: str, required: true}
  days: {description: Days that a certificate of an operator or client is good for., type: int, required: true}
  renew_before: {description: Days before its end from which a certificate is renewed., type: int, required: true}
"""
ROOT_DAYS, AUTHORITY_DAYS = 3650, 1825


class Missing(Exception):
    """Of a pair one is there and the other is not."""


class Folder:
    def __init__(self, path, dry):
        self.path, self.dry, self.written = path, dry, []

    def file(self, name):
        return os.path.join(self.path, name)

    def has(self, name):
        return os.path.exists(self.file(name))

    def read(self, name):
        with open(self.file(name), "rb") as file:
            return file.read()

    def write(self, name, content, mode):
        """By a rename, so that no half file is ever read."""
        self.written.append(name)
        if self.dry:
            return
        handle, temporary = tempfile.mkstemp(dir=self.path)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
        os.rename(temporary, self.file(name))

    def key(self, name):
        if self.has(f"{name}.key"):
            return serialization.load_pem_private_key(self.read(f"{name}.key"), None)
        if self.has(f"{name}.pem"):
            raise Missing(f"{self.file(name)}.pem is there and its key is not: bring {name}.key back from the folder's copy; "
                          "nothing was made, for hosts would not believe what another key signs")
        key = ec.generate_private_key(ec.SECP256R1())
        self.write(f"{name}.key", key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                                    serialization.NoEncryption()), 0o600)
        return key

    def certificate(self, name):
        """The first of NAME.pem, or None."""
        return x509.load_pem_x509_certificate(self.read(f"{name}.pem")) if self.has(f"{name}.pem") else None


def signed_by(certificate, issuer):
    try:
        issuer.public_key().verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(certificate.signature_hash_algorithm))
    except InvalidSignature:
        return False
    return True


def good(certificate, key, issuer, renew_before):
    ends = certificate.not_valid_after_utc - datetime.datetime.now(datetime.timezone.utc)
    return ends > datetime.timedelta(days=renew_before) and certificate.public_key() == key.public_key() and signed_by(certificate, issuer)


def issue(name, key, days, issuer=None, issuer_key=None, path_length=None):
    """A certificate of an authority if it has a path length or no issuer, else of a client."""
    authority = issuer is None or path_length is not None
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    use = {field: False for field in ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment",
                                      "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")}
    use.update({"key_cert_sign": True, "crl_sign": True} if authority else {"digital_signature": True})
    made = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer.subject if issuer else subject)
            .public_key(key.public_key()).serial_number(x509.random_serial_number())
            .not_valid_before(now).not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.KeyUsage(**use), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer_key or key).public_key()), critical=False))
    if authority:
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
    else:
        made = made.add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
    return made.sign(issuer_key or key, hashes.SHA256())


def pem(certificate):
    return certificate.public_bytes(serialization.Encoding.PEM)


def make(folder, cluster, regions, people, days, renew_before):
    if not os.path.isdir(folder.path) and not folder.dry:
        os.makedirs(folder.path, 0o700)
    root_key, root = folder.key("root"), folder.certificate("root")
    if root is None:
        root = issue(f"{cluster} root", root_key, ROOT_DAYS)
        folder.write("root.pem", pem(root), 0o644)
    authorities = {}
    for name in ["clients", *regions]:
        key, certificate = folder.key(name), folder.certificate(name)
        if certificate is None or not good(certificate, key, root, renew_before):
            certificate = issue(f"{cluster} {name}", key, AUTHORITY_DAYS, root, root_key, path_length=0)
            folder.write(f"{name}.pem", pem(certificate), 0o644)
        authorities[name] = (certificate, key)
    issuer, issuer_key = authorities["clients"]
    for name in people:
        key, certificate = folder.key(name), folder.certificate(name)
        if certificate is None or not good(certificate, key, issuer, renew_before):
            # With its authority's, for nodes know the root only.
            folder.write(f"{name}.pem", pem(issue(name, key, days, issuer, issuer_key)) + pem(issuer), 0o644)


def main():
    texts = {"type": "list", "elements": "str", "required": True}
    module = AnsibleModule({"directory": {"type": "path", "required": True}, "cluster": {"type": "str", "required": True}, "regions": texts,
                            "people": texts, "days": {"type": "int", "required": True}, "renew_before": {"type": "int", "required": True}},
                           supports_check_mode=True)
    wanted = dict(module.params)
    folder = Folder(wanted.pop("directory"), module.check_mode)
    try:
        make(folder, **wanted)
    except Missing as missing:
        module.fail_json(msg=str(missing))
    except (OSError, ValueError) as error:
        module.fail_json(msg=f"{folder.path} cannot be used: {error}; mend it, or bring it back from its copy")
    module.exit_json(changed=bool(folder.written), written=folder.written)


if __name__ == "__main__":
    main()
