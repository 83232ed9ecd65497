# Serves an exported agent on CPUs. From the root of the repository:
#   docker build -f docker/serving.Dockerfile -t learec-serving .
#   docker run -p 8000:8000 -v "$PWD/runs/shop:/run:ro" -e LEAREC_TOKEN=... learec-serving
# An agent that was exported with an index needs one library more: --build-arg INDEX=faiss-cpu==1.15.1
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip wheel --no-deps --wheel-dir /wheels .
COPY docker/serving-requirements.txt ./
ARG INDEX=""
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --no-compile --requirement serving-requirements.txt $INDEX \
 && pip --python /venv/bin/python install --no-compile --no-deps /wheels/*.whl

FROM python:3.12-slim
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --create-home learec
USER learec
WORKDIR /home/learec
EXPOSE 8000
# With Docker's own signals: SIGTERM lets requests in flight end, SIGHUP looks for a new version of the model.
ENTRYPOINT ["learec", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["/run"]
