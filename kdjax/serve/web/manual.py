"""The API as a page that needs no script and asks nobody for anything, from its OpenAPI description."""

from typing import Any

from kdjax.evaluate.templating import environment

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}: the API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/files/app.css">
</head>
<body>
<main>
<h1>{{ title }} {{ version }}: the API</h1>
<p>{{ about }} The same for programs: <a href="/openapi.json">openapi.json</a>. <a href="/">Back to the page</a>.</p>
<pre><code>curl --data-binary @clip.mp4 -H 'Content-Type: video/mp4' 'http://127.0.0.1:8000/api/jobs?name=clip.mp4'</code></pre>
{% for each in operations %}
<section>
<h2><code>{{ each.method }} {{ each.path }}</code></h2>
<p>{{ each.text }}</p>
<table>
<thead><tr><th scope="col">what</th><th scope="col"></th></tr></thead>
<tbody>
{% for name, text in each.rows %}
<tr><th scope="row"><code>{{ name }}</code></th><td>{{ text }}</td></tr>
{% endfor %}
</tbody>
</table>
</section>
{% endfor %}
</main>
</body>
</html>
"""


def manual(schema: dict[str, Any]) -> str:
    """Returns the page of an OpenAPI description."""
    operations = [
        {
            "method": method.upper(),
            "path": path,
            "text": told.get("description", ""),
            "rows": [*_parameters(told), *_answers(told)],
        }
        for path, methods in schema["paths"].items()
        for method, told in methods.items()
    ]
    info = schema["info"]
    return (
        environment()
        .from_string(PAGE)
        .render(
            title=info["title"],
            version=info["version"],
            about=info.get("description", ""),
            operations=operations,
        )
    )


def _parameters(told: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        (
            each["name"],
            f"{each['in']}, {each['schema'].get('type', '')}: {each.get('description', '')}".rstrip(
                ": "
            ),
        )
        for each in told.get("parameters", ())
    ]
    body = told.get("requestBody", {}).get("content", {})
    return [*rows, *((kind, "the body: the file itself") for kind in body)]


def _answers(told: dict[str, Any]) -> list[tuple[str, str]]:
    return [(code, each.get("description", "")) for code, each in told["responses"].items()]
