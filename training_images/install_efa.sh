#!/bin/sh
# Installs the user-space part of EFA into an image: install_efa.sh VERSION KEY_FINGERPRINT SOURCE_URL
# Nothing of the archive is run before its signature is proved to be of the key with that fingerprint.
set -eu

version=$1 fingerprint=$2 source=$3
archive=aws-efa-installer-$version.tar.gz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

for file in aws-efa-installer.key "$archive" "$archive.sig"; do
    curl --fail --silent --show-error --location --retry 5 --output "$file" "$source/$file"
done

export GNUPGHOME="$work/gnupg"
mkdir -m 700 "$GNUPGHOME"
gpg --batch --quiet --no-autostart --import aws-efa-installer.key  # a public key needs no agent
if ! gpg --batch --no-autostart --status-fd 1 --verify "$archive.sig" "$archive" > status 2> said; then
    cat said >&2
    echo "install_efa: the signature of $source/$archive is not valid: not installed" >&2
    exit 1
fi
# The last field of VALIDSIG is the fingerprint of the primary key.
if ! grep -q "^\[GNUPG:\] VALIDSIG .* $fingerprint\$" status; then
    echo "install_efa: $source/$archive is signed by another key than $fingerprint: not installed" >&2
    exit 1
fi

tar --extract --gzip --file "$archive"
cd aws-efa-installer
# --skip-kmod: the kernel module is the node's. --skip-limit-conf: so are the limits; pods get theirs from Kubernetes.
# --no-verify: there is no EFA device while an image is built. --disable-build-ngc: the AWS plugin on any base.
./efa_installer.sh -y --skip-kmod --skip-limit-conf --no-verify --disable-build-ngc
