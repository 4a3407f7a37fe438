# One cycle a run, as cron would: docker run --rm -v "$PWD/workspace:/workspace" trader
FROM python:3.11-slim
RUN useradd --create-home trader && mkdir /workspace && chown trader /workspace
WORKDIR /app
COPY requirements.txt .
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir -r requirements.txt
COPY run_pipeline.py config.toml ./
COPY modules modules
COPY docs/tries.csv docs/
USER trader
VOLUME /workspace
ENTRYPOINT ["python", "run_pipeline.py", "--workspace", "/workspace"]
