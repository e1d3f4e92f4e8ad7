#!/usr/bin/env bash
# Tests /api/v2 and /v1 against their own descriptions with schemathesis, with and without what opens them:
#   scripts/schemathesis.sh
# Starts a server of its own at a free port, in a temporary folder, and stops it afterwards. Fails on any server
# error and on any route that answers without a key.
# VOCERO_BIN: the binary (default: built here). SCHEMATHESIS_EXAMPLES: cases for each operation (default 20).
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
venv=$target/schemathesis
if [ ! -x "$venv/bin/schemathesis" ]; then
    command -v python3 > /dev/null || { echo "python3 is needed for schemathesis" >&2; exit 1; }
    python3 -m venv "$venv" || {
        echo "cannot make a virtual environment; install it with: sudo apt-get install python3-venv" >&2
        exit 1
    }
    "$venv/bin/pip" install --quiet 'schemathesis==4.32.*'
fi

binary=${VOCERO_BIN:-}
if [ -z "$binary" ]; then
    cargo build --locked --package server
    binary=$target/debug/vocero
fi

folder=$(mktemp -d "${TMPDIR:-/tmp}/vocero-schemathesis.XXXXXX")
server=
clean_up() {
    trap - EXIT INT TERM
    if [ -n "$server" ]; then
        kill "$server" 2> /dev/null || true
        wait "$server" 2> /dev/null || true
    fi
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

export VOCERO_DATA_DIR=$folder/data VOCERO_LISTEN=127.0.0.1:0 VOCERO_RATE_LIMIT=0
unset DATABASE_URL QDRANT_URL OPENAI_API_KEY OPENAI_BASE_URL
"$binary" init --json > "$folder/init"
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$folder/init" "$1"; }
key=$(field apiKey)
# Ids that are there, so that more than 404 is seen; what deletes gets none of them.
cat > "$folder/v2.toml" << END
[parameters]
agentId = "$(field agentId)"
datastoreId = "$(field datastoreId)"

[[operations]]
include-operation-id = "deleteAgent"
parameters = { agentId = "agent_00000000000000000000000000000000" }

[[operations]]
include-operation-id = "deleteDatastore"
parameters = { datastoreId = "ds_00000000000000000000000000000000" }
END
"$binary" serve > "$folder/out" 2> "$folder/log" &
server=$!
url=
for _ in $(seq 300); do
    url=$(sed -n 's/.* listens on \(http:[^ ]*\).*/\1/p' "$folder/out" | head -n 1)
    [ -n "$url" ] && break
    kill -0 "$server" 2> /dev/null || { cat "$folder/log" >&2; exit 1; }
    sleep 0.1
done
[ -n "$url" ] || { echo "the server does not say where it listens" >&2; exit 1; }

check() {
    document=$1
    shift
    # The stateful phase would revoke the key that it works with.
    "$venv/bin/schemathesis" --config-file "$folder/$document.toml" run "$url/openapi/$document.json" \
        --phases examples,coverage,fuzzing --checks not_a_server_error,ignored_auth \
        --max-examples "${SCHEMATHESIS_EXAMPLES:-20}" --seed 1 --request-timeout 30 \
        --continue-on-failure --warnings off "$@"
}

# A provider that is made here is one that nobody answers at, and from then on every answer is a 503 that says so. What
# is wrong in a provider is tested in api/tests.
echo "/api/v2 with a key:"
check v2 --header "Authorization: Bearer $key" --exclude-operation-id createProvider
echo "/api/v2 without a key:"
check v2

# What a JSON text on standard input has in a place: `["id"]`.
field_of() { python3 -c 'import json, sys; print(eval("json.load(sys.stdin)" + sys.argv[1]))' "$1"; }
json='Content-Type: application/json'
signed_in=$(curl -fsS "$url/v1/auth/register" -H "$json" \
    -d '{"name": "Andrea", "email": "andrea@ejemplo.com", "password": "tres tristes tigres"}')
token=$(field_of '["token"]' <<< "$signed_in")
user=$(field_of '["user"]["id"]' <<< "$signed_in")
workspace=$(field_of '["workspace"]["id"]' <<< "$signed_in")
as_person() { curl -fsS -H "Authorization: Bearer $token" "$@"; }
# Makes something; its id.
make() { as_person "$url$1" -H "$json" -d "$2" | field_of '["id"]'; }
projects=$(as_person "$url/v1/projects")
project=$(field_of '["data"][0]["id"]' <<< "$projects")
site_key=$(field_of '["data"][0]["siteKey"]' <<< "$projects")
opened=$(curl -fsS "$url/v1/widget/init" -H "x-site-key: $site_key" -H "$json" -d '{}')
visitor=$(field_of '["visitorId"]' <<< "$opened")
visitor_token=$(field_of '["visitorToken"]' <<< "$opened")
conversation=$(curl -fsS "$url/v1/widget/messages" -H "x-site-key: $site_key" -H "x-visitor-token: $visitor_token" \
    -H "$json" -d '{"content": "Hola tengo una duda"}' | field_of '["conversationId"]')
made_key=$(as_person "$url/v1/api-keys" -H "$json" -d '{"name": "web"}')
agent=$(curl -fsS -H "Authorization: Bearer $(field_of '["key"]' <<< "$made_key")" "$url/api/v2/agents" |
    field_of '["data"][0]["id"]')
printf 'hola' > "$folder/a.txt"
attachment=$(as_person "$url/v1/conversations/$conversation/attachments" -F "file=@$folder/a.txt" | field_of '["id"]')
note=$(make "/v1/conversations/$conversation/notes" "{\"content\": \"@[$user], cliente VIP\"}")
end_user=$(make /v1/end-users '{"name": "Andrea"}')
article=$(make /v1/kb/articles '{"title": "Cambios", "content": "Hasta 24h antes.", "slug": "cambios", "language": "es"}')
category=$(make /v1/kb/categories '{"names": {"es": "Entradas"}}')
tag=$(make /v1/tags '{"name": "vip"}')
canned=$(make /v1/canned-replies '{"shortcut": "hola", "title": "Saludo", "content": "¡Hola!"}')
invitation=$(make "/v1/workspaces/$workspace/members/invite" '{"email": "nuevo@ejemplo.com", "role": "agent"}')
code=$(as_person "$url/v1/workspaces/$workspace" | field_of '["code"]')
cat > "$folder/v1.toml" << END
[parameters]
workspaceId = "$workspace"
memberId = "$user"
projectId = "$project"
agentId = "$agent"
conversationId = "$conversation"
attachmentId = "$attachment"
noteId = "$note"
endUserId = "$end_user"
articleId = "$article"
"path.categoryId" = "$category"
tagId = "$tag"
cannedReplyId = "$canned"
keyId = "$(field_of '["id"]' <<< "$made_key")"
invitationId = "$invitation"
visitorId = "$visitor"
workspaceCode = "$code"
slug = "cambios"
END
# What takes away what the others need, or shuts the visitor out, finds nothing.
nobody=00000000000000000000000000000000
while read -r operation parameter value; do
    printf '\n[[operations]]\ninclude-operation-id = "%s"\nparameters = { %s = "%s" }\n' \
        "$operation" "$parameter" "$value" >> "$folder/v1.toml"
done << END
deleteWorkspace workspaceId ws_$nobody
endSession sessionId sess_$nobody
deleteProject projectId proj_$nobody
rotateSiteKey projectId proj_$nobody
renewWidgetIdentitySecret projectId proj_$nobody
eraseEndUser endUserId contact_$nobody
deleteArticle articleId art_$nobody
deleteArticleCategory categoryId cat_$nobody
deleteTag tagId tag_$nobody
deleteNote noteId note_$nobody
deleteCannedReply cannedReplyId canned_$nobody
revokeApiKey keyId key_$nobody
revokeInvitation invitationId inv_$nobody
blockVisitor visitorId somebody-else
END
# Signing out would end the session that the rest is asked in; a stream ends only when it is cut.
echo "/v1 with a token, a site key and a visitor token:"
check v1 --header "Authorization: Bearer $token" --header "x-site-key: $site_key" \
    --header "x-visitor-token: $visitor_token" --exclude-operation-id logout \
    --exclude-operation-id logoutEverywhere --exclude-operation-id followVisitor
# Whoever was let in before is let in afterwards: else most of the above was told 401.
as_person "$url/v1/auth/me" > /dev/null || { echo "the token did not hold to the end" >&2; exit 1; }
curl -fsS "$url/v1/widget/messages" -H "x-site-key: $site_key" -H "x-visitor-token: $visitor_token" > /dev/null ||
    { echo "the site key or the visitor token did not hold to the end" >&2; exit 1; }
echo "/v1 without any of them:"
check v1
kill -0 "$server" || { echo "the server died" >&2; tail -n 50 "$folder/log" >&2; exit 1; }
