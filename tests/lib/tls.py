"""Certificates and keys for TLS, made by openssl while a test runs; the objects that use them."""
import os
import subprocess

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
HOST = "guest.example"
CLIENT = "mover.example"
# What minivmm and QEMU call the client: its name as it stands in the certificate.
CLIENT_NAME = f"C=GB,O=Example,CN={CLIENT}"


def openssl(folder, *words):
    done = subprocess.run(("openssl", *words), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"openssl {' '.join(words)}: {done.stderr}")


class Authority:
    """A folder with ca-cert.pem, which folders of credentials are made from."""

    def __init__(self, folder):
        self.folder = folder
        os.mkdir(folder)
        openssl(folder, "req", "-x509", *KEY, "-keyout", "ca-key.pem", "-out", "ca-cert.pem", "-subj", "/CN=authority",
                "-days", "10", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        with open(self.file("ca.conf"), "w", encoding="ascii") as f:
            f.write("[ca]\ndefault_ca=own\n[own]\ndatabase=index.txt\nnew_certs_dir=.\ncertificate=ca-cert.pem\n"
                    "private_key=ca-key.pem\ndefault_md=sha256\npolicy=any\nrand_serial=yes\nunique_subject=no\n"
                    "default_crl_days=9\n[any]\ncommonName=supplied\ncountryName=optional\norganizationName=optional\n")
        with open(self.file("index.txt"), "w", encoding="ascii"):
            pass

    def file(self, name):
        return os.path.join(self.folder, name)

    def credentials(self, folder, end, names=f"DNS:{HOST},DNS:localhost,IP:127.0.0.1", subject=None, days=("-1d", "+5d"),
                    purpose=None):
        """A folder for one end, "server" or "client"; 'days' from today: valid from, until."""
        os.mkdir(folder)
        subject = subject or f"/C=GB/O=Example/CN={HOST if end == 'server' else CLIENT}"
        openssl(folder, "req", *KEY, "-keyout", f"{end}-key.pem", "-out", "request", "-subj", subject)
        with open(self.file("extensions"), "w", encoding="ascii") as f:
            f.write(f"subjectAltName={names}\nbasicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
                    f"extendedKeyUsage=critical,{purpose or end}Auth\n")
        since, until = (subprocess.run(["date", "-u", "-d", f"{d} day".replace("d ", " "), "+%Y%m%d%H%M%SZ"],
                                       capture_output=True, text=True, check=True).stdout.strip() for d in days)
        openssl(self.folder, "ca", "-batch", "-notext", "-config", "ca.conf", "-in", os.path.join(folder, "request"),
                "-out", os.path.join(folder, f"{end}-cert.pem"), "-extfile", "extensions", "-preserveDN",
                "-startdate", since, "-enddate", until)
        os.symlink(self.file("ca-cert.pem"), os.path.join(folder, "ca-cert.pem"))
        return folder

    def revoke(self, folder, end):
        """... and the list that says so, into another folder."""
        openssl(self.folder, "ca", "-config", "ca.conf", "-revoke", os.path.join(folder, f"{end}-cert.pem"))
        openssl(self.folder, "ca", "-config", "ca.conf", "-gencrl", "-out", "ca-crl.pem")


def keys(folder, **users):
    """A folder with keys.psk."""
    os.makedirs(folder)
    with open(os.path.join(folder, "keys.psk"), "w", encoding="ascii") as f:
        f.writelines(f"{name}:{key}\n" for name, key in users.items())
    return folder


def creds(kind, end, folder=None, name="tls0", **more):
    """The option for the object of that end."""
    text = f"tls-creds-{kind},id={name},endpoint={end}" + (f",dir={folder}" if folder else "")
    return ("-object", text + "".join(f",{k.replace('_', '-')}={v}" for k, v in more.items()))


def use(vm, creds_id="tls0", **parameters):
    vm.cmd("migrate-set-parameters", **{"tls-creds": creds_id},
           **{k.replace("_", "-"): v for k, v in parameters.items()})


class Ends:
    """What both ends of a test use: options for each, and what to tell them."""

    def __init__(self, folder, kind="x509"):
        self.kind = kind
        self.authority = None
        self.folders = {}

        def path(name):
            return os.path.join(folder, name)
        if kind == "x509":
            self.authority = Authority(path("ca"))
            for end in ("server", "client"):
                self.folders[end] = self.authority.credentials(path(end), end)
        elif kind == "psk":
            folder = keys(path("keys"), qemu="0123456789abcdef0123456789abcdef")
            self.folders = {"server": folder, "client": folder}

    def options(self, end, **more):
        return creds(self.kind, end, self.folders.get(end), **more)

    def use(self, source, dest, **dest_parameters):
        use(source, **({"tls-hostname": HOST} if self.kind == "x509" else {}))
        use(dest, **dest_parameters)
