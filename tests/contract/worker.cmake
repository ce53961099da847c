# The suite that every worker must pass, run on each kind that is built.
add_executable(worker_contract_test worker_contract_test.cpp worker_faults_test.cpp
  worker_kinds.cpp worker_process.cpp)
target_link_libraries(worker_contract_test PRIVATE stoker_base stoker_net simdjson::simdjson
  GTest::gtest_main)
target_compile_definitions(worker_contract_test PRIVATE
  STOKER_TEST_BIN="${CMAKE_RUNTIME_OUTPUT_DIRECTORY}"
  STOKER_TEST_SERVERS="${CMAKE_CURRENT_LIST_DIR}/servers"
  STOKER_TEST_MODEL_FILE="${CMAKE_SOURCE_DIR}/models/tiny-demo-q8_0.gguf")
add_dependencies(worker_contract_test stoker-worker-echo stoker-worker-exec)
if(TARGET stoker-worker-llama)
  target_sources(worker_contract_test PRIVATE llama_usage_test.cpp)
endif()
foreach(kind llama onnx)
  if(TARGET stoker-worker-${kind})
    add_dependencies(worker_contract_test stoker-worker-${kind})
  endif()
endforeach()
add_test(NAME contract.worker COMMAND worker_contract_test)
set_tests_properties(contract.worker PROPERTIES LABELS quick TIMEOUT ${long_timeout})
