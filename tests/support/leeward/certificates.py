"""A certificate authority in a folder and one certificate for all nodes of a net, by the openssl command."""
import os
import subprocess


def run(folder, *args):
    subprocess.run(["openssl", *args], cwd=folder, check=True, capture_output=True, timeout=60)


def issue(folder, net, days):
    """{cert, key, ca} for the tls sections of a configuration; the authority is made by the first call, files are replaced by a rename."""
    if not os.path.exists(os.path.join(folder, "ca.pem")):
        run(folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "ca.key", "-out", "ca.pem",
            "-days", "60", "-subj", "/CN=test CA")
    with open(os.path.join(folder, "names"), "w", encoding="utf-8") as handle:
        handle.write("subjectAltName=" + ",".join(f"IP:127.{net}.{region}.{n}" for region in (1, 2) for n in (1, 2, 3)) + "\n")
    run(folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "node.key.new", "-out", "node.csr", "-subj", "/CN=node")
    run(folder, "x509", "-req", "-in", "node.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", str(days), "-out", "node.pem.new",
        "-extfile", "names")
    for name in ("node.key", "node.pem"):
        os.replace(os.path.join(folder, name + ".new"), os.path.join(folder, name))
    return {name: os.path.join(folder, file) for name, file in (("cert", "node.pem"), ("key", "node.key"), ("ca", "ca.pem"))}
