# Makes a CA and a certificate for each named host, as a site's own PKI would: DIRECTORY NAME... (sh -eu).
directory=$1
shift
umask 077
mkdir "$directory"
cd "$directory"
curve="ec -pkeyopt ec_paramgen_curve:prime256v1"
openssl req -x509 -newkey $curve -nodes -days 365 -subj "/CN=a site's own CA" -keyout ca-key.pem -out ca.pem 2>/dev/null
for name; do
  openssl req -newkey $curve -nodes -subj "/CN=$name" -keyout "$name-key.pem" -out "$name.csr" 2>/dev/null
  printf 'subjectAltName=DNS:%s\nextendedKeyUsage=serverAuth\n' "$name" >"$name.cnf"
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 365 -extfile "$name.cnf" \
    -out "$name.pem" 2>/dev/null
done
